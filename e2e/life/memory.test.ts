/** Snapshots of the memory through the official clients. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CURRENT_PYTHON_CLIENT } from '../support/clients.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const [runc, gvisor] = await runtimesToTest();
const going = 'a_program_goes_on_in_the_original_and_in_three_copies_at_once';

describe('snapshots of the memory under gVisor', { skip: gvisor?.skip ?? 'unknown' }, () => {
  let server: TestServer;
  const notes = mkdtempSync(join(tmpdir(), 'e2e-memory-'));
  const env = { LIFE_NOTES: join(notes, 'notes') };
  before(async () => {
    server = await startServer({ runtime: 'gvisor' });
  });
  // Asserts that nothing of them is left on the machine.
  after(async () => {
    await server?.stop();
    rmSync(notes, { recursive: true });
  });

  test('with the Python client', (t) =>
    pythonCases(t, server, 'memory', {
      timeoutMs: 600_000,
      only: [
        going,
        'likewise_by_the_newer_calls',
        'a_copy_has_the_name_of_the_other_or_another_or_none',
        'volumes_are_mounted_as_they_are_now',
        'what_cannot_be_remembered_says_why',
      ],
    }));
  for (const version of ['1.0.5', '1.3.5'])
    test(`with Python ${version}`, (t) =>
      pythonCases(t, server, 'memory', { version, only: [going], timeoutMs: 600_000 }));
  test('with the JavaScript client', (t) => jsCases(t, server, 'memory'));
  test('with the Go client', (t) => goCases(t, server, { only: ['a program goes on in a copy'] }));

  test('after a crash of the server, with the original gone', async (t) => {
    await pythonCases(t, server, 'memory', { env, only: ['before_the_crash'] });
    await server.kill9();
    await server.restart();
    await pythonCases(t, server, 'memory', {
      env,
      version: CURRENT_PYTHON_CLIENT,
      only: ['after_the_crash'],
    });
  });
});

describe('snapshots of the memory under runc', { skip: runc?.skip ?? 'unknown' }, () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('are refused, with the reason', (t) =>
    pythonCases(t, server, 'memory', { only: ['without_gvisor_it_is_refused'] }));
});
