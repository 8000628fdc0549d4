import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from './platform/command.ts';
import { lockDataDir } from './platform/exclusive.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/** Makes stray errors as soon as somebody listens for them. */
const STRAY = `
process.on('newListener', (name) => {
  if (name === 'unhandledRejection') Promise.reject(new Error('stray rejection'));
  if (name === 'uncaughtException') setImmediate(() => { throw new Error('stray exception'); });
});`;

test('a stray error while the server starts is told and does not end it; the start ends with its own words', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-main-'));
  const unlock = lockDataDir(dataDir); // another server has it, so that this start ends before it touches the machine
  t.after(async () => {
    unlock();
    await rm(dataDir, { recursive: true, force: true });
  });
  const preload = `data:text/javascript,${encodeURIComponent(STRAY)}`;
  const config = ['--data-dir', dataDir, '--extra-ca-file', 'none'];
  const { code, stderr } = await run([process.execPath, '--import', preload, MAIN, ...config], {
    okCodes: [1],
  });
  assert.equal(code, 1);
  assert.match(stderr, /process\.unhandled-rejection/);
  assert.match(stderr, /stray rejection/);
  assert.match(stderr, /process\.uncaught-exception/);
  assert.match(stderr, /skerry: Another Skerry server works on/);
});
