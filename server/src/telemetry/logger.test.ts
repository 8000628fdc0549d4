import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../platform/command.ts';
import { createLogger } from './logger.ts';

test('values that may be secret are redacted, control characters escaped, quiet levels quiet', () => {
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line) => lines.push(line) });
  logger.info({ env: { KEY: 'hush' }, call: { token: 'hush' }, a: { b: { password: 'hush' } } }, 'operation');
  logger.child({ secrets: ['hush'] }).warn({ authorization: 'hush' }, 'operation');
  logger.info({ output: '\u001b[2J\n' }, 'operation');
  logger.debug({}, 'not wanted');
  const text = lines.join('');
  assert.equal(lines.length, 3);
  assert.doesNotMatch(text, /hush/);
  assert.match(text, /\[redacted\]/);
  assert.equal(text.includes('\u001b'), false);
});

test('an error that holds others is logged with all of them and their causes', async () => {
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line) => lines.push(line) });
  const busy = new Error('could not remove it', { cause: new Error('device or resource busy') });
  const disposal = new AggregateError([busy, new Error('nor that')], 'disposal failed');
  logger.error({ err: new SuppressedError(disposal, new Error('the build failed')) }, 'operation');
  const { err } = JSON.parse(lines.join(''));
  for (const words of ['the build failed', 'could not remove it', 'device or resource busy', 'nor that']) {
    assert.ok(err.stack.includes(`Error: ${words}`), `${words} in ${err.stack}`);
  }
});

/** Logs to a disk that is full, and then to one that is not. */
const SCRIPT = `
import { closeSync, openSync } from 'node:fs';
import { createLogger } from ${JSON.stringify(new URL('logger.ts', import.meta.url).href)};
const open = (path) => { closeSync(2); if (openSync(path, 'a') !== 2) process.exit(3); };
const logger = createLogger('info');
open('/dev/full');
for (let line = 0; line < 20_000; line++) logger.info({ text: 'x'.repeat(1000) }, 'lost');
open(process.argv[1]);
logger.info({}, 'after');
`;

test('on a full disk whoever logs goes on, and no more than a little waits for room', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-logger-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'log');
  await run([process.execPath, '--input-type=module', '--eval', SCRIPT, file]);
  const text = await readFile(file, 'utf8');
  assert.match(text, /"after"/);
  assert.ok(text.length < 2 << 20, `${text.length} characters waited`);
  for (const line of text.trim().split('\n')) JSON.parse(line);
});
