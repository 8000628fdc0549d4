import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppService } from '../apps/app-service.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import { createLogger } from '../telemetry/logger.ts';
import { AppReaper } from './app-reaper.ts';
import { Domain } from './testing/domain.ts';

test('the sweep ends silent ephemeral apps and their sandboxes, and no others', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-app-reaper-'));
  const store = openTestStore(dataDir);
  t.after(() => {
    store.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const clock = { ms: 1_700_000_000_000 };
  const apps = new AppService(store, () => clock.ms);
  const silentApp = apps.createEphemeral('', 'silent', 'ephemeral', {});
  const alive = apps.createEphemeral('', 'alive', 'ephemeral', {});
  const busy = apps.createEphemeral('', 'busy', 'detached', {});
  const idle = apps.createEphemeral('', 'idle', 'detached', {});
  const deployed = apps.lookup('', 'deployed', true);
  const ended: string[] = [];
  const live = new Set<string>([silentApp.id, busy.id]);
  const reaper = new AppReaper({
    apps,
    logger: createLogger('silent'),
    sandboxes: {
      // Only what the reaper uses of a sandbox.
      list: ({ appId = '' }) =>
        (live.has(appId) ? [{ terminate: async () => void ended.push(appId) }] : []) as never,
    },
  });
  clock.ms += 119_000;
  await reaper.sweep(clock.ms);
  assert.equal(apps.get(silentApp.id).state, 'ephemeral');
  apps.heartbeat(alive.id);
  clock.ms += 2_000;
  await reaper.sweep(clock.ms);
  const states = [silentApp, alive, busy, idle, deployed].map(({ id }) => apps.get(id).state);
  assert.deepEqual(states, ['stopped', 'ephemeral', 'detached', 'stopped', 'deployed']);
  assert.deepEqual(ended, [silentApp.id]);
});

test('with a store that takes nothing an app’s sandboxes end on request, and a client that is heard keeps its own', async () => {
  let offsetMs = 0;
  await using domain = await Domain.open({ now: () => Date.now() + offsetMs });
  const { apps, manager: sandboxes, logger } = domain;
  const reaper = new AppReaper({ apps, sandboxes, logger });
  const [stopped, heard] = ['stopped', 'heard'].map((name) =>
    apps.createEphemeral('', name, 'ephemeral', {}),
  );
  assert.ok(stopped && heard);
  const sandbox = await domain.running({ appId: stopped.id });
  const kept = await domain.running({ appId: heard.id });
  domain.refuseWrites(true);
  await assert.rejects(reaper.stop(stopped.id));
  assert.deepEqual(sandbox.result, { kind: 'terminated' });
  offsetMs = 10 * 60_000;
  apps.heartbeat(heard.id);
  domain.refuseWrites(false);
  await reaper.sweep(Date.now() + offsetMs);
  assert.equal(kept.state, 'running');
  assert.deepEqual([apps.get(stopped.id).state, apps.get(heard.id).state], ['stopped', 'ephemeral']);
  offsetMs += 10 * 60_000;
  await reaper.sweep(Date.now() + offsetMs);
  assert.deepEqual(kept.result, { kind: 'terminated' });
  assert.equal(apps.get(heard.id).state, 'stopped');
});
