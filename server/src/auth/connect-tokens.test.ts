import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId, TaskId } from '../ids.ts';
import { AccessTokens } from './access-tokens.ts';
import {
  CONNECT_TOKEN_LIFETIME_S,
  ConnectTokens,
  checkUserMetadata,
  isConnectToken,
} from './connect-tokens.ts';

const KEY = new Uint8Array(32).fill(9);
const START = 1_700_000_000_123;
const grant = { sandboxId: 'sb-A' as SandboxId, port: 8080, userMetadata: '{"user": "é"}' };
const unauthenticated = (error: unknown) => error instanceof SkerryError && error.code === 'unauthenticated';

test('a token opens what it was made for until it expires, on every server with the same key', async () => {
  let now = START;
  const token = await new ConnectTokens(KEY, () => now).issue(grant);
  assert.ok(isConnectToken(token));
  assert.match(token, /^[\w.-]+$/, 'goes into URLs and cookies as it is');
  const restarted = new ConnectTokens(KEY, () => now);
  const { expiresAtMs, ...opened } = await restarted.verify(token);
  assert.deepEqual(opened, grant);
  assert.equal(expiresAtMs, (Math.floor(START / 1000) + CONNECT_TOKEN_LIFETIME_S) * 1000);
  now = expiresAtMs - 1000;
  assert.equal((await restarted.verify(token)).port, 8080);
  now = expiresAtMs + 1000;
  await assert.rejects(restarted.verify(token), /expired/, 'also one that is remembered');
  await assert.rejects(new ConnectTokens(KEY, () => now).verify(token), unauthenticated);
});

test('tokens of another key, another kind or changed by a letter are refused', async () => {
  const now = () => START;
  const tokens = new ConnectTokens(KEY, now);
  const good = await tokens.issue({ ...grant, userMetadata: undefined });
  assert.equal((await tokens.verify(good)).userMetadata, undefined);
  const router = await new AccessTokens(KEY, now).forRouter({
    sandboxId: grant.sandboxId,
    taskId: 'ta-AV' as TaskId,
    tokenId: undefined,
  });
  const unsigned = `sct_${Buffer.from('{"alg":"none"}').toString('base64url')}.${good.split('.')[1]}.`;
  const foreign = await new ConnectTokens(new Uint8Array(32).fill(2), now).issue(grant);
  const changed = good.replace(
    /^(sct_[^.]+\.)(..)/,
    (_all, start, two) => start + [...two].reverse().join(''),
  );
  for (const token of [
    '',
    'x',
    'sct_',
    router,
    `sct_${router}`,
    unsigned,
    foreign,
    good.slice(4),
    changed,
    `${good}x`,
  ]) {
    await assert.rejects(tokens.verify(token), unauthenticated, token);
  }
});

test('metadata fits into one line of a header, and has less than 512 characters', () => {
  checkUserMetadata('');
  checkUserMetadata('{"name": "Ä", "smile": "😀"}');
  checkUserMetadata('😀'.repeat(511));
  for (const text of ['a'.repeat(512), 'a\r\nX-Admin: 1', 'a\nb', '\0', '\u0085', 'a\x7f', '\ud800']) {
    assert.throws(() => checkUserMetadata(text), { code: 'invalid-argument' }, JSON.stringify(text));
  }
});
