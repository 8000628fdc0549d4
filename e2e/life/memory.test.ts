/** Snapshots of the memory through the official clients. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { skipWithout } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const skip = await skipWithout('gvisor');

describe('snapshots of the memory under gVisor', { skip }, () => {
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
        'a_program_goes_on_in_the_original_and_in_three_copies_at_once',
        'likewise_by_the_newer_calls',
        'a_copy_has_the_name_of_the_other_or_another_or_none',
        'volumes_are_mounted_as_they_are_now',
        'what_cannot_be_remembered_says_why',
      ],
    }));
  test('that an image has something done first in, with the Python client', (t) =>
    pythonCases(t, server, 'warm_up'));
  test('with Python 1.0.5', (t) =>
    pythonCases(t, server, 'memory', { version: '1.0.5', only: ['a_program_goes_on_in_a_copy'] }));
  test('with the JavaScript client', (t) => jsCases(t, server, 'memory'));
  test('with the Go client', (t) => goCases(t, server, { env: { LIFE_MEMORY: '1' } }));

  test('after a crash of the server, with the original gone', async (t) => {
    await pythonCases(t, server, 'memory', { env, only: ['before_the_crash'] });
    await server.kill9();
    await server.restart();
    await pythonCases(t, server, 'memory', {
      env,
      only: ['after_the_crash'],
    });
  });
});
