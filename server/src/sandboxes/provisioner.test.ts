import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DefaultImage } from '../images/default-image.ts';
import { ImageResolver } from '../images/image-resolver.ts';
import { type Provision, ProvisionConflict, Provisioner } from './provisioner.ts';
import { Domain, deadline, output } from './testing/domain.ts';

const provisionerOf = ({ manager, apps, images, volumes, root, logger }: Domain) =>
  new Provisioner({
    sandboxes: manager,
    apps,
    images: new ImageResolver({
      images,
      defaultImage: new DefaultImage({ images, directory: root, logger }),
    }),
    volumes,
    digestKey: () => 'key',
  });

const wanted: Provision = {
  taskId: 'task/1',
  imageId: 'base',
  ttlMs: 3_600_000,
  ttlMode: 'absolute',
  env: { A: '1' },
  workdir: undefined,
  milliCpu: 0,
  memoryMiB: 0,
  network: { kind: 'open' },
  volumes: [],
  openPorts: [],
  inboundCidrs: [],
};

test('the same definition is the same sandbox, from several callers and after a restart', async () => {
  let domain = await Domain.open();
  try {
    const first = provisionerOf(domain);
    const made = await Promise.all([1, 2, 3].map(() => first.provision(wanted, deadline())));
    assert.deepEqual(made.map(({ created }) => created).sort(), [false, false, true]);
    const [{ sandbox } = assert.fail()] = made;
    assert.equal(await output(sandbox, ['sh', '-c', 'echo $A']), '1\n');

    domain = await domain.restart();
    const again = await provisionerOf(domain).provision(wanted, deadline());
    assert.deepEqual([again.created, again.sandbox.id], [false, sandbox.id]);
    assert.equal(provisionerOf(domain).find('task/1').id, sandbox.id);
  } finally {
    await domain[Symbol.asyncDispose]();
  }
});

test('another definition is a conflict that names all in which it differs, and no value', async () => {
  await using domain = await Domain.open();
  const provisioner = provisionerOf(domain);
  await provisioner.provision(wanted, deadline());
  const other = { ...wanted, env: { A: 'hidden' }, ttlMode: 'idle', memoryMiB: 100 } as const;
  await assert.rejects(provisioner.provision(other, deadline()), (error: unknown) => {
    assert.ok(error instanceof ProvisionConflict);
    assert.deepEqual(error.differs, ['ttlMode', 'env', 'memoryMiB']);
    assert.doesNotMatch(error.message, /hidden/);
    return true;
  });
});

test('one that is being ended keeps its task id until it is gone, and its successor waits for that', async () => {
  await using domain = await Domain.open();
  const provisioner = provisionerOf(domain);
  const { sandbox } = await provisioner.provision(wanted, deadline());
  await sandbox.waitUntilRunning(deadline());
  const held = domain.engine.faults.hold('destroy');
  const ending = sandbox.terminate();
  await held.reached;
  const order: string[] = [];
  const gone = ending.then(() => order.push('gone'));
  const successor = provisioner.provision(wanted, deadline()).then((made) => {
    order.push('successor');
    return made;
  });
  held.release();
  await gone;
  const next = await successor;
  assert.deepEqual(order, ['gone', 'successor']);
  assert.deepEqual([next.created, next.sandbox.id === sandbox.id], [true, false]);
  assert.equal(sandbox.result?.kind, 'terminated');
});
