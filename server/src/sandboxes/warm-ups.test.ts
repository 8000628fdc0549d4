/** What images have done first, and sandboxes that begin where it is done. The engine is the fake one: its programs begin anew in what goes on from a checkpoint. */
import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, test } from 'node:test';
import { emptyImageConfig } from '../images/image.ts';
import type { Sandbox } from './sandboxes.ts';
import type { SandboxSpec } from './spec.ts';
import { Domain, deadline, eventually, output } from './testing/domain.ts';
import { buildImage } from './testing/test-images.ts';
import { isAnybodys, warmUpCommand, warmUpKey } from './warm-ups.ts';

test('the label has a command as CMD has one', () => {
  const commandOf = (label: string) =>
    warmUpCommand({ ...emptyImageConfig, shell: ['/bin/bash', '-c'], labels: { 'skerry.warm-up': label } });
  assert.deepEqual(commandOf('["python3", "/warm.py"]'), ['python3', '/warm.py']);
  for (const line of ['python3 /warm.py', '["unfinished', '[]', '[1]']) {
    assert.deepEqual(commandOf(line), ['/bin/bash', '-c', line]);
  }
  assert.equal(commandOf(' '), undefined);
  assert.equal(warmUpCommand(emptyImageConfig), undefined);
});

test('anybody can begin from a checkpoint of one that has nothing of its own', () => {
  const image = { layers: [], config: emptyImageConfig, snapshots: 0 };
  const plain = { volumes: [], mountIds: [], network: { kind: 'open' } } as unknown as SandboxSpec; // nothing else is looked at
  assert.ok(isAnybodys(plain, image));
  assert.ok(isAnybodys({ ...plain, network: { kind: 'blocked' }, secretSources: [] }, image));
  for (const more of [
    { gpu: {} },
    { buckets: [{}] },
    { volumes: [{}] },
    { mountIds: ['mo-1'] },
    { sidecarOf: {} },
    { secretHeaders: [] },
    { network: { kind: 'open', headers: 'sealed' } },
  ])
    assert.ok(!isAnybodys({ ...plain, ...more } as unknown as SandboxSpec, image), JSON.stringify(more));
  assert.ok(!isAnybodys(plain, { snapshots: 1 }));
  const limits = { memoryMiB: 64, milliCpu: 1000, milliCpuRequest: 100, pids: 10 };
  const command = { argv: ['a'], env: {} };
  const key = warmUpKey(image, command, { limits, disk: undefined });
  assert.equal(key, warmUpKey(image, command, { limits: { ...limits }, disk: undefined }));
  assert.notEqual(key, warmUpKey(image, command, { limits: { ...limits, memoryMiB: 65 }, disk: undefined }));
  assert.notEqual(key, warmUpKey(image, { ...command, env: { A: 'b' } }, { limits, disk: undefined }));
});

/** Tells in a file what it saw, each time it is run, and stays. */
const WARM = 'echo ran with $SECRET $MODAL_SANDBOX_ID >> /runs; echo loading; echo ready; exec sleep 1000';
const opened = (checkpoints = true) => Domain.open({ checkpoints });
const imageOf = (domain: Domain, command = WARM) =>
  buildImage(domain.images, [
    'FROM base',
    `LABEL skerry.warm-up=${JSON.stringify(JSON.stringify(['sh', '-c', command]))}`,
  ]);
const kept = (domain: Domain) => readdir(join(domain.dataDir, 'memory-snapshots'));
const secretSources = [{ kind: 'inline', env: { SECRET: 'value' } }] as const;
const asks = { args: ['sh', '-c', 'cat /runs; echo $SECRET; exec sleep 1000'], secretSources };

describe('an image that has something done first', () => {
  it('has it done once, and the next sandboxes begin there, with their own command and secrets', async () => {
    await using domain = await opened();
    const imageId = await imageOf(domain);
    const first = await domain.running({ imageId, ...asks, name: 'first' });
    const said = async (sandbox: Sandbox) => {
      let all = '';
      for await (const chunk of sandbox.stdout.read(0, deadline())) {
        all += Buffer.from(chunk).toString();
        if (all.includes('value')) break;
      }
      return all;
    };
    assert.equal(
      await said(first),
      'ran with\nvalue\n',
      'before its own program, without its secrets and ids',
    );
    const [checkpoint, ...others] = await kept(domain);
    assert.ok(checkpoint && others.length === 0);
    const second = await domain.create({ imageId, ...asks });
    assert.equal(second.spec.warmUp?.checkpoint, checkpoint);
    assert.equal(second.spec.imageId, imageId);
    assert.match(await said(second), /^ran with\n/);
    assert.equal((await output(second, ['sh', '-c', 'echo $MODAL_SANDBOX_ID'])).trim(), second.id);
    assert.equal((await kept(domain)).length, 1);
    const bigger = await domain.running({
      imageId,
      resources: { memoryMiB: 128, memoryLimitMiB: 0, milliCpu: 0, milliCpuLimit: 0 },
    });
    assert.equal(bigger.spec.warmUp, undefined);
    assert.equal((await kept(domain)).length, 2, 'others limits have another');

    const copied = await second.snapshotFilesystem({}, deadline());
    const next = await domain.restart();
    const found = next.manager.get(second.id);
    await found.waitUntilRunning(deadline());
    assert.match(await output(found, ['cat', '/runs']), /^ran with\n/);
    const again = await found.snapshotFilesystem({}, deadline());
    assert.deepEqual(again.layers.slice(0, -1), copied.layers.slice(0, -1), 'it goes on from the same files');
    await next[Symbol.asyncDispose]();
  });

  it('has it done each time where there are no checkpoints, and for those that have something mounted', async () => {
    for (const checkpoints of [false, true]) {
      await using domain = await opened(checkpoints);
      const imageId = await imageOf(domain);
      const volume = domain.volumes.create(domain.spec().environmentId, 'shared', 2, 'keep');
      const volumes = [{ volumeId: volume.id, target: '/data', readOnly: false, subPath: '' }];
      for (let round = 0; round < 2; round++) {
        const sandbox = await domain.running({ imageId, ...(checkpoints && { volumes }) });
        assert.equal(await output(sandbox, ['cat', '/runs']), 'ran with\n');
      }
      assert.deepEqual(await kept(domain), []);
    }
  });

  it('cannot begin where it failed, which the sandbox says', async () => {
    await using domain = await opened();
    const imageId = await imageOf(domain, 'echo no such model >&2; exit 3');
    const sandbox = await domain.create({ imageId });
    await assert.rejects(
      sandbox.waitUntilRunning(deadline()),
      /skerry.warm-up failed \(code 3\).*no such model/,
    );
    assert.deepEqual(await kept(domain), []);
    const done = await imageOf(domain, 'echo done > /runs');
    assert.equal(await output(await domain.running({ imageId: done }), ['cat', '/runs']), 'done\n');
    assert.equal((await kept(domain)).length, 1, 'one that exits with 0 is ready as well');
  });

  it('has it done anew when what was kept is of no use, and keeps that', async () => {
    await using domain = await opened();
    const imageId = await imageOf(domain);
    await domain.running({ imageId });
    const [broken = ''] = await kept(domain);
    // Between its admission and its start, the worst that can be.
    const sandbox = await domain.create({ imageId });
    await rm(join(domain.dataDir, 'memory-snapshots', broken), { recursive: true, force: true });
    await sandbox.waitUntilRunning(deadline());
    assert.match(await output(sandbox, ['cat', '/runs']), /^ran with\n/);
    await domain.running({ imageId });
    const [another = '', ...more] = await kept(domain);
    assert.ok(another !== broken && more.length === 0);
    // Found out before.
    await rm(join(domain.dataDir, 'memory-snapshots', another), { recursive: true, force: true });
    const next = await domain.running({ imageId });
    assert.equal(next.spec.warmUp, undefined);
    assert.equal((await kept(domain)).length, 1);
  });

  it('is gone when its image is, once nobody runs on it', async () => {
    await using domain = await opened();
    const imageId = await imageOf(domain);
    await domain.running({ imageId });
    const sandbox = await domain.running({ imageId });
    const image = sandbox.spec.warmUp?.image;
    assert.ok(image);
    await domain.images.delete(image);
    domain.manager.sweep();
    assert.deepEqual(await kept(domain), []);
    assert.match(await output(sandbox, ['cat', '/runs']), /^ran with\n/);
    await sandbox.terminate();
    await eventually(() => sandbox.state === 'ended');
  });
});
