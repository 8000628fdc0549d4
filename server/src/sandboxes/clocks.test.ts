import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instance } from '../engines/engine.ts';
import { Clocks, type ClocksParts } from './clocks.ts';
import type { Running } from './life.ts';
import type { Tenant } from './tenant.ts';

const turn = () => new Promise(setImmediate);

test('a kill for memory may be the cause of an end until it was seen at two looks, or told to be none', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  let oomKills = 0;
  const instance = { stats: async () => ({ oomKills }) } as unknown as Instance; // nothing else of it is asked
  const tenant: Tenant = { instance, agent: {} as Tenant['agent'], plan: {} as Tenant['plan'] };
  const parts = { spec: {}, now: () => 0, processes: { busy: false }, ports: { open: 0 }, tell: () => {} };
  const clocks = new Clocks({ ...parts, ended: new AbortController().signal } as unknown as ClocksParts);
  t.after(() => clocks.stop());
  clocks.start({ state: 'running', deadlineMs: 1e9 } as unknown as Running, tenant);
  const look = async () => {
    t.mock.timers.tick(60_000);
    await turn();
  };
  await look();
  assert.equal(await clocks.oomKilledSince(tenant), false);
  oomKills = 1;
  assert.equal(await clocks.oomKilledSince(tenant), true);
  await look();
  assert.equal(await clocks.oomKilledSince(tenant), true, 'its program may be on its way out');
  await look();
  assert.equal(await clocks.oomKilledSince(tenant), false, 'the sandbox lived through it');
  oomKills = 2;
  await clocks.noteOomKills(tenant);
  assert.equal(await clocks.oomKilledSince(tenant), false, 'it was an exec');
  await look();
  assert.equal(await clocks.oomKilledSince(tenant), false, 'a look takes nothing back');
});
