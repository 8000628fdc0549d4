/**
 * A server beside another one: what the second does from its start to its `down`, a crash in between, leaves the first one's sandboxes as they are. That is
 * also what lets the tests run on a machine where somebody works with Skerry.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { delay } from '../server/src/platform/wait.ts';
import { runPython } from './support/clients.ts';
import { inventory, isOfASandbox } from './support/inventory.ts';
import { onceUnderRunc, runtimesToTest } from './support/runtimes.ts';
import { startServer, type TestServer } from './support/server.ts';

const prelude = `
import modal
app = modal.App.lookup("e2e-neighbours", create_if_missing=True)
image = modal.Image.from_registry("debian:bookworm-slim")
`;

/** Counts for ever, and says each time whether it still reaches its resolver, which is on the host's side of its network. */
const ticker = `
resolver=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -1)
for ((i = 0; ; i++)); do
  if (exec 3<>"/dev/tcp/$resolver/53") 2>/dev/null; then echo "$i reached"; else echo "$i alone"; fi
  sleep 0.05
done`;

async function python(server: TestServer, source: string): Promise<string> {
  const result = await runPython(server, `${prelude}${source}`);
  assert.equal(result.code, 0, `${result.stderr}\nserver:\n${server.log().slice(-4000)}`);
  return result.stdout;
}

/** What the ticker has printed so far, without waiting for its end. */
async function ticks(server: TestServer, name: string): Promise<string[]> {
  const printed = await python(
    server,
    `
import itertools
sandbox = modal.Sandbox.from_name("e2e-neighbours", "${name}")
assert sandbox.poll() is None, sandbox.poll()
size = int(sandbox.exec("sh", "-c", "wc -l < /ticks").stdout.read())
print(sandbox.exec("head", "-n", str(size), "/ticks").stdout.read(), end="")`,
  );
  return printed.split('\n').filter(Boolean);
}

/** What the server and its sandboxes hold, without processes and spare namespaces, which come and go. */
const held = async (dataDir: string) =>
  (await inventory(dataDir)).filter(
    (line) =>
      (isOfASandbox(line) && !line.startsWith('process ')) ||
      /^(nft|iptables|path) |^address .*\blo:/.test(line),
  );

const secondDataDir = mkdtempSync(join(tmpdir(), 'e2e-second-'));
after(() => rmSync(secondDataDir, { recursive: true, force: true }));

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a server beside another under ${runtime}`, { skip: skip || onceUnderRunc(runtime) }, () => {
    let first: TestServer;
    before(async () => {
      first = await startServer({ runtime });
      await python(
        first,
        `
for name in ("one", "two"):
    modal.Sandbox.create("bash", "-c", ${JSON.stringify(`exec > /ticks\n${ticker}`)}, app=app, image=image, name=name).exec("true").wait()`,
      );
    });
    after(() => first?.stop()); // asserts that nothing is left

    test('starts, crashes, comes back, ends and goes, and the sandboxes of the first do not notice', async () => {
      const before = await held(first.dataDir);
      assert.ok(before.some(isOfASandbox));
      const begun = await Promise.all(['one', 'two'].map((name) => ticks(first, name)));

      const second = await startServer({ runtime, dataDir: secondDataDir });
      try {
        await python(
          second,
          `
modal.Sandbox.create("sleep", "600", app=app, image=image, name="one").exec("true").wait()
modal.Sandbox.create("sleep", "600", app=app, image=image, block_network=True).exec("true").wait()`,
        );
        assert.deepEqual(await held(first.dataDir), before);
        await second.kill9();
        await second.restart();
        assert.match(
          await python(
            second,
            'print(modal.Sandbox.from_name("e2e-neighbours", "one").exec("echo", "back").stdout.read())',
          ),
          /back/,
        );
      } finally {
        await second.stop();
      }
      assert.deepEqual(await held(first.dataDir), before);

      for (const [index, name] of ['one', 'two'].entries()) {
        const sofar = begun[index]?.length ?? 0;
        let now = await ticks(first, name);
        while (now.length <= sofar) {
          await delay(100); // it counts, or the test's own time ends
          now = await ticks(first, name);
        }
        assert.deepEqual(
          now,
          now.map((_, i) => `${i} reached`),
        );
      }
    });
  });
}
