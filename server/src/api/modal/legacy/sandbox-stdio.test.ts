import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import { Domain, deadline, eventually, exec, text } from '../../../sandboxes/testing/domain.ts';
import { utf8 } from '../testing/clients.ts';
import { inMemoryClient } from '../testing/in-memory.ts';
import { sandboxStdioHandlers } from './sandbox-stdio.ts';

/** Counts its input once there is a file `/tmp/go`: until then it takes what the pipe holds. */
const COUNT = ['sh', '-c', 'while ! [ -e /tmp/go ]; do sleep 0.02; done; wc -c'];
const LARGE = new Uint8Array(1 << 20);

async function setUp(t: TestContext, args: readonly string[]) {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  return over(domain, await domain.running({ args }));
}

/** The API of a server, for one of its sandboxes. */
function over(domain: Domain, sandbox: Sandbox) {
  const { manager: sandboxes, store } = domain;
  const deps = { sandboxes, legacyExecs: store.legacyExecs, now: Date.now };
  const client = inMemoryClient(sandboxStdioHandlers(deps), store.answers);
  const put = (key: string, input: Uint8Array, more: { eof?: boolean; signal?: AbortSignal } = {}) =>
    client.sandboxStdinWrite(
      { sandboxId: sandbox.id, index: 1, input, eof: more.eof ?? false },
      { headers: { 'x-idempotency-key': key }, ...(more.signal && { signal: more.signal }) },
    );
  /** Resolves once the program was given some of its input. */
  const begun = () =>
    eventually(async () => ((await sandbox.entrypoint?.stdinStatus(deadline()))?.accepted ?? 0) > 0);
  const go = async () => (await exec(sandbox, ['touch', '/tmp/go'])).wait(deadline());
  const restart = async (t: TestContext) => {
    const next = await domain.restart();
    t.after(() => next[Symbol.asyncDispose]());
    const again = next.manager.get(sandbox.id);
    await again.waitUntilRunning(deadline());
    return over(next, again);
  };
  return { domain, sandbox, put, begun, go, restart };
}

test('V1 input that is cut off in the middle is written once when it comes again', async (t) => {
  const { sandbox, put, begun, go } = await setUp(t, COUNT);
  const leaving = new AbortController();
  const cut = put('a', LARGE, { signal: leaving.signal });
  await begun();
  leaving.abort();
  await assert.rejects(cut);
  const again = put('a', LARGE);
  await go();
  await again;
  await put('b', utf8('end'), { eof: true });
  assert.equal((await text(sandbox.stdout)).trim(), String(LARGE.length + 3));
});

test('also when the server was restarted between the two', async (t) => {
  const before = await setUp(t, COUNT);
  const cut = before.put('a', LARGE).catch(() => 'cut off');
  await before.begun();
  const { sandbox, put, go } = await before.restart(t);
  assert.equal(await cut, 'cut off');
  await go();
  await put('a', LARGE, { eof: true });
  await put('a', LARGE, { eof: true });
  assert.equal((await text(sandbox.stdout)).trim(), String(LARGE.length));
});

test('what several clients write at once is all taken, each of which counts from one', async (t) => {
  const { sandbox, put } = await setUp(t, ['wc', '-c']);
  await Promise.all(['a', 'b', 'c'].map((key) => put(key, LARGE)));
  await put('d', new Uint8Array(), { eof: true });
  assert.equal((await text(sandbox.stdout)).trim(), String(3 * LARGE.length));
});
