/** The process that starts the server's commands is killed again and again: some sandboxes cannot start, nothing is left of them, and the server goes on. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { delay } from '../server/src/platform/wait.ts';
import { runPython } from './support/clients.ts';
import { inventory, isOfASandbox } from './support/inventory.ts';
import { runtimesToTest } from './support/runtimes.ts';
import { startServer, type TestServer } from './support/server.ts';
import { patient } from './support/slowness.ts';

/** Between one kill and the next; a create takes about half of it. */
const PAUSE_MS = 150;
const SETTLE_MS = patient(30_000);

const prelude = `
import modal, threading
app = modal.App.lookup("e2e-launcher", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11")
`;

/** Creates and ends sandboxes, four at a time, and tells what came in the way of them. */
const BUSY = `${prelude}
def work():
    for _ in range(8):
        try:
            sb = modal.Sandbox.create(app=app, image=image)
            try:
                sb.exec("true").wait()
            finally:
                sb.terminate(wait=True)
        except modal.exception.Error as error:
            print(type(error).__name__, error)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("over")
`;

const ONE = `${prelude}
print(modal.Sandbox.create(app=app, image=image, timeout=600).exec("echo", "alive").stdout.read())
`;

/** One that is dead has no arguments. */
function isLauncher(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('skerry-launcher');
  } catch {
    return false;
  }
}

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a launcher that is killed under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
      const ready = await runPython(server, ONE); // the image is made
      assert.match(ready.stdout, /alive/, ready.stderr);
    });
    after(() => server?.stop()); // asserts that nothing at all is left, no launcher either

    /** The launcher of the server that runs now, if it has one at the moment. */
    const launcher = (): number | undefined => {
      const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8');
      return children.split(' ').filter(Boolean).map(Number).find(isLauncher);
    };

    test('takes sandboxes that start with it at most, and the next command starts another', async () => {
      const before = (await inventory(server.dataDir)).filter(isOfASandbox);
      const busy = runPython(server, BUSY);
      let isOver = false;
      busy.finally(() => {
        isOver = true;
      });
      const killed = new Set<number>();
      while (!isOver) {
        const pid = launcher();
        if (pid !== undefined && !killed.has(pid)) {
          process.kill(pid, 'SIGKILL'); // at worst it is dead, and waits for its server to hear of it
          killed.add(pid);
        }
        await delay(PAUSE_MS);
      }
      const { code, stdout, stderr } = await busy;
      assert.equal(code, 0, stderr);
      assert.match(stdout, /over$/);
      assert.ok(killed.size > 5, `${killed.size} were killed`);
      const later = await runPython(server, ONE);
      assert.match(later.stdout, /alive/, later.stderr);
      assert.match(server.log(), /launcher\.ended/);
      assert.doesNotMatch(server.log(), /launcher\.cannot-start/);
      const deadline = AbortSignal.timeout(SETTLE_MS);
      const instances = (lines: readonly string[]) =>
        new Set(lines.flatMap((line) => line.match(/in-[0-9A-Za-z]{22}/) ?? [])).size;
      for (;;) {
        const now = (await inventory(server.dataDir)).filter(isOfASandbox);
        if (instances(now) === instances(before) + 1) break; // the two that run
        assert.ok(!deadline.aborted, now.join('\n'));
        await delay(100);
      }
    });

    test('does not outlive its server', async () => {
      const pid = launcher();
      assert.ok(pid);
      await server.kill9();
      const deadline = AbortSignal.timeout(SETTLE_MS);
      while (isLauncher(pid)) await delay(20, deadline);
      await server.restart();
      assert.ok(launcher());
    });
  });
}
