import assert from 'node:assert/strict';
import { test } from 'node:test';
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
