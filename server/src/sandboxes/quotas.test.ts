/** Quotas of tokens over the real domain: what counts for whom, and when. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnvironmentQuotas } from '../auth/environment-quotas.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { EnvironmentId } from '../ids.ts';
import type { Quotas } from './quotas.ts';
import { Domain, deadline, eventually, output, TEST_ENVIRONMENT } from './testing/domain.ts';

const MINE = { tokenId: 'ak-mine' };
const opened = (quotas: Quotas, checkpoints = false) =>
  Domain.open({ checkpoints, quotasOf: (tokenId) => (tokenId === MINE.tokenId ? quotas : {}) });
const over = (message: RegExp) => ({ code: 'quota-exceeded', message });
const asked = { memoryMiB: 0, memoryLimitMiB: 0, milliCpu: 0, milliCpuLimit: 0 };

test('of creates at once no more begin than the token may have; others have theirs', async () => {
  await using domain = await opened({ maxSandboxes: 2 });
  const all = await Promise.allSettled(
    Array.from({ length: 5 }, () => domain.manager.create(domain.spec(), MINE)),
  );
  const [one] = all.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const refused = all.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
  assert.equal(refused.length, 3);
  for (const reason of refused) {
    assert.ok(reason instanceof SkerryError && reason.code === 'quota-exceeded', String(reason));
    assert.match(
      reason.message,
      /^The token's quota of sandboxes is 2; its sandboxes take 2, and this would take 1 more\. End or suspend/,
    );
  }
  await domain.manager.create(domain.spec(), { tokenId: 'ak-other' });
  await domain.create();
  await one?.terminate();
  await domain.manager.create(domain.spec(), MINE);
});

test('CPU, memory and disk are what each may take: what it asks for, or what the server gives', async () => {
  await using domain = await opened({ maxMilliCpu: 2500, maxMemoryMiB: 300, maxDiskMiB: 1000 });
  await domain.manager.create(domain.spec({ resources: { ...asked, memoryMiB: 200 } }), MINE);
  const taken = { sandboxes: 1, milliCpu: 1000, memoryMiB: 200, diskMiB: 64 };
  assert.deepEqual(domain.manager.takenBy(MINE.tokenId), taken);
  const create = (resources: object) =>
    domain.manager.create(domain.spec({ resources: { ...asked, ...resources } }), MINE);
  await assert.rejects(
    create({ memoryLimitMiB: 101 }),
    over(/memory is 300 MiB; .* take 200 MiB, .* take 101 MiB more/),
  );
  await assert.rejects(create({ milliCpu: 1501 }), over(/CPU is 2\.5; .* take 1, .* take 1\.501 more/));
  await create({ milliCpu: 1500, memoryMiB: 100 });
});

test('a server that comes back counts what runs', async () => {
  await using domain = await opened({ maxSandboxes: 1 });
  const sandbox = await domain.manager.create(domain.spec(), MINE);
  await sandbox.waitUntilRunning(deadline());
  await using next = await domain.restart();
  await assert.rejects(next.manager.create(next.spec(), MINE), over(/sandboxes is 1;/));
  await next.manager.get(sandbox.id).terminate();
  await next.manager.create(next.spec(), MINE);
});

test('what sleeps has its disk alone, and wakes when there is room', async () => {
  await using domain = await opened({ maxSandboxes: 1, maxDiskMiB: 128 }, true);
  const sleeper = await domain.manager.create(domain.spec(), MINE);
  await sleeper.waitUntilRunning(deadline());
  await sleeper.suspend(deadline());
  const other = await domain.manager.create(domain.spec(), MINE);
  await assert.rejects(output(sleeper, ['true']), over(/sandboxes is 1;/));
  const input = sleeper.entrypoint?.writeStdin(0, Buffer.from('x'), deadline());
  await assert.rejects(async () => input, over(/sandboxes is 1;/));
  assert.equal(sleeper.state, 'suspended');
  await other.terminate();
  assert.equal(await output(sleeper, ['echo', 'woke']), 'woke\n');
  await assert.rejects(domain.manager.create(domain.spec(), MINE), over(/sandboxes is 1;/));
});

test('copies count for who makes them, and are refused before anything is made of them', async () => {
  await using domain = await opened({ maxSandboxes: 2 }, true);
  const original = await domain.running();
  const copy = { ...MINE };
  await assert.rejects(
    domain.manager.fork(original.id, [copy, copy, copy], deadline()),
    over(/sandboxes is 2; .* take 0, .* take 3 more/),
  );
  await domain.manager.fork(original.id, [copy, copy], deadline());
  assert.equal(domain.manager.takenBy(MINE.tokenId).sandboxes, 2);
  const id = await original.keepMemory(deadline());
  await assert.rejects(domain.manager.restore(id, MINE), over(/sandboxes is 2;/));
});

test('an environment bounds all of its sandboxes, whoever makes them, and no others', async () => {
  let nowMs = 0;
  const kept = new Map<string, string>();
  const settings = {
    get: (key: string) => kept.get(key),
    set: (key: string, value: string) => void kept.set(key, value),
  };
  const environments = new EnvironmentQuotas(settings, () => nowMs);
  environments.set(TEST_ENVIRONMENT, { maxSandboxes: 2, createsPerMinute: 5 });
  await using domain = await Domain.open({ environments, checkpoints: true });
  const mine = await domain.manager.create(domain.spec(), MINE);
  const sandbox = await domain.running();
  await assert.rejects(
    domain.create(),
    over(/^The environment's quota of sandboxes is 2; .* take 2, .* raised/),
  );
  const elsewhere = { environmentId: 'en-other' as EnvironmentId };
  await (await domain.create(elsewhere)).terminate();
  await mine.terminate();
  await assert.rejects(
    domain.manager.fork(sandbox.id, [MINE, MINE], deadline()),
    over(/take 1, .* take 2 more/),
  );
  await domain.manager.fork(sandbox.id, [MINE], deadline());
  await sandbox.terminate();
  await (await domain.create()).terminate();
  await assert.rejects(domain.create(), { code: 'rate-limited', details: { retryAfterMs: 12_000 } });
  nowMs = 12_000;
  await domain.create();
  const again = new EnvironmentQuotas(settings, () => nowMs);
  assert.deepEqual(again.of(TEST_ENVIRONMENT), { maxSandboxes: 2, createsPerMinute: 5 });
  again.keepOnly([TEST_ENVIRONMENT]);
  assert.deepEqual(again.of(TEST_ENVIRONMENT), { maxSandboxes: 2, createsPerMinute: 5 });
  again.set(elsewhere.environmentId, { maxSandboxes: 1 });
  again.keepOnly([elsewhere.environmentId]);
  assert.equal(kept.get('environment-quotas'), '{"en-other":{"maxSandboxes":1}}');
  again.set(elsewhere.environmentId, {});
  assert.equal(kept.get('environment-quotas'), '{}');
});

test('a sidecar counts for the token of its sandbox, and one that ended by itself for none', async () => {
  await using domain = await opened({ maxSandboxes: 2 });
  const sandbox = await domain.manager.create(domain.spec(), MINE);
  await sandbox.waitUntilRunning(deadline());
  const { imageId } = sandbox.spec;
  const sidecar = {
    imageId,
    secretSources: [],
    workdir: undefined,
    resources: asked,
    pty: undefined,
    volumes: [],
  };
  const start = (name: string, args: string[]) =>
    domain.manager.sidecars.create(sandbox, { ...sidecar, name, args }, undefined, deadline());
  const brief = await start('brief', ['sleep', '0']);
  await eventually(() => brief.result !== undefined);
  await start('one', ['sleep', '1000']);
  await assert.rejects(start('two', ['sleep', '1000']), over(/sandboxes is 2;/));
});
