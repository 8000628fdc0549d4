/** STOPSIGNAL: the signal that a program is told with that its sandbox is terminated. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ENTRYPOINT_PROCESS_ID } from '../ids.ts';
import type { Sandbox } from './sandboxes.ts';
import type { SandboxSpec } from './spec.ts';
import { atLeast, Domain, deadline, eventually, output, text } from './testing/domain.ts';
import { buildImage } from './testing/test-images.ts';

const looping = (onSignal: string) =>
  `trap "${onSignal}" USR1; touch /up; echo up; while :; do sleep 0.05; done`;
const TIDY = looping('echo tidy; exit 3');
const STUBBORN = looping('echo no');

/** A sandbox of that image whose program is ready for the signal. */
async function up(
  domain: Domain,
  dockerfile: readonly string[],
  script: string,
  more: Partial<SandboxSpec> = {},
): Promise<Sandbox> {
  const imageId = await buildImage(domain.images, ['FROM base', ...dockerfile]);
  const sandbox = await domain.running({ imageId, args: ['sh', '-c', script], ...more });
  await atLeast(sandbox.stdout, 'up\n'.length);
  return sandbox;
}

/** How its program ended, and what it had printed. */
const endOf = async (sandbox: Sandbox) => ({
  result: sandbox.result?.kind,
  exit: sandbox.entrypoint?.exit,
  printed: await text(sandbox.stdout),
});
const tidy = {
  result: 'terminated',
  exit: { kind: 'code', code: 3, timedOut: false },
  printed: 'up\ntidy\n',
};
const killed = {
  result: 'terminated',
  exit: { kind: 'signal', signal: 9, timedOut: false },
  printed: 'up\n',
};

describe('terminate', () => {
  it('tells the program with the signal of its image, by name or number, and waits for its end', async () => {
    await using domain = await Domain.open();
    for (const signal of ['SIGUSR1', 'usr1', '10']) {
      const sandbox = await up(domain, [`STOPSIGNAL ${signal}`], TIDY);
      await sandbox.terminate();
      assert.deepEqual(await endOf(sandbox), tidy, signal);
    }
    assert.deepEqual(await domain.engine.traces(), []);
  });

  it('kills it after the grace, and at once where the image names no signal or the grace is none', async () => {
    await using domain = await Domain.open({ config: { stopGraceSeconds: 0.2 } });
    const stubborn = await up(domain, ['STOPSIGNAL SIGUSR1'], STUBBORN);
    await stubborn.terminate();
    assert.deepEqual(await endOf(stubborn), { ...killed, printed: 'up\nno\n' });
    const unnamed = await up(domain, [], TIDY);
    await unnamed.terminate();
    assert.deepEqual(await endOf(unnamed), killed);
    await using impatient = await Domain.open({ config: { stopGraceSeconds: 0 } });
    const hurried = await up(impatient, ['STOPSIGNAL SIGUSR1'], TIDY);
    await hurried.terminate();
    assert.deepEqual(await endOf(hurried), killed);
  });

  it('says the end from the first moment on, whatever exit code the program has', async () => {
    await using domain = await Domain.open();
    const sandbox = await up(domain, ['STOPSIGNAL SIGUSR1'], looping('echo told; read x; exit 4'));
    const ending = sandbox.terminate();
    await atLeast(sandbox.stdout, 'up\ntold\n'.length);
    assert.equal(sandbox.state, 'stopping');
    assert.deepEqual(await sandbox.wait(0, deadline()), { kind: 'terminated' });
    await sandbox.entrypoint?.writeStdin(0, Buffer.from('\n'), deadline());
    await ending;
    assert.deepEqual((await endOf(sandbox)).exit, { kind: 'code', code: 4, timedOut: false });
  });

  it('does not wait for a program whose sandbox dies meanwhile', async () => {
    await using domain = await Domain.open({ config: { stopGraceSeconds: 300 } });
    const sandbox = await up(domain, ['STOPSIGNAL SIGUSR1'], STUBBORN);
    const ending = sandbox.terminate();
    await atLeast(sandbox.stdout, 'up\nno\n'.length);
    await domain.instance(sandbox).crash();
    await ending;
    assert.equal(sandbox.state, 'ended');
  });

  it('tells sidecars as well', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const { secretSources, workdir, resources, pty, volumes } = sandbox.spec;
    const imageId = await buildImage(domain.images, ['FROM base', 'STOPSIGNAL SIGUSR1']);
    const args = ['sh', '-c', TIDY];
    const spec = { name: 'db', imageId, args, secretSources, workdir, resources, pty, volumes };
    const sidecar = await domain.manager.sidecars.create(sandbox, spec, undefined, deadline());
    await eventually(async () => (await output(sidecar, ['sh', '-c', 'test -e /up && echo up'])) === 'up\n');
    await sandbox.terminate();
    assert.deepEqual(domain.store.processes.get(sidecar.taskId, ENTRYPOINT_PROCESS_ID)?.exit, tidy.exit);
  });
});

it('a timeout kills at once', async () => {
  await using domain = await Domain.open({ config: { stopGraceSeconds: 300 } });
  const sandbox = await up(domain, ['STOPSIGNAL SIGUSR1'], STUBBORN, { timeoutMs: 1500 });
  assert.deepEqual(await sandbox.wait(60_000, deadline()), { kind: 'timeout' });
  assert.deepEqual(await endOf(sandbox), { ...killed, result: 'timeout' });
});
