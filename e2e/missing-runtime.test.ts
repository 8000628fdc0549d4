/**
 * The program of a runtime is taken away while sandboxes run, as an upgrade does or somebody by mistake: what runs goes on, what must end ends, what needs
 * the program says so, and when it is back all is well.
 */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findRuntimes } from '../server/src/engines/oci/runtime-choice.ts';
import { delay } from '../server/src/platform/wait.ts';
import { runPython } from './support/clients.ts';
import { inventory } from './support/inventory.ts';
import { runtimesToTest } from './support/runtimes.ts';
import { startServer, type TestServer } from './support/server.ts';
import { patient } from './support/slowness.ts';
import { programsWithoutRunc } from './support/without-runc.ts';

const PRELUDE = `
import modal
app = modal.App.lookup("missing-runtime", create_if_missing=True)
image = modal.Image.from_registry("debian:bookworm-slim").build(app)
def create(name, **options):
    return modal.Sandbox.create("sleep", "3600", app=app, image=image, name=name, **options)
def named(name):
    return modal.Sandbox.from_name("missing-runtime", name)
def works(sandbox):
    process = sandbox.exec("sh", "-c", "read x; echo $x")
    process.stdin.write("hello\\n")
    process.stdin.drain()
    assert process.stdout.read() == "hello\\n"
    assert process.wait() == 0
def fails(work):
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("it did not fail")
`;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`the program of ${runtime} is missing while sandboxes run`, { skip }, () => {
    let scratch: string;
    let bin: string;
    let program: string;
    let aside: string;
    let server: TestServer;

    before(async () => {
      scratch = mkdtempSync(join(tmpdir(), 'missing-runtime-'));
      bin = programsWithoutRunc(scratch);
      program = join(bin, runtime === 'runc' ? 'runc' : 'runsc');
      aside = join(scratch, 'aside');
      const found = (await findRuntimes('', scratch))[runtime];
      assert.ok(found.ok);
      copyFileSync(found.path, program);
      server = await startServer({
        runtime,
        // The builds are by the same runtime: there is no other.
        flags: ['--runsc-path', join(bin, 'runsc'), '--build-runtime', runtime],
        env: { PATH: bin },
      });
    });
    after(async () => {
      await server?.stop();
      rmSync(scratch, { recursive: true, force: true });
    });
    const takeAway = () => renameSync(program, aside);
    const bringBack = () => renameSync(aside, program);
    const python = async (source: string): Promise<string> => {
      const { code, stdout, stderr } = await runPython(server, `${PRELUDE}${source}`);
      assert.equal(code, 0, `${stderr}\n${server.log().slice(-4000)}`);
      return stdout;
    };
    /** Waits until so many sandboxes have cgroups. What could not be taken away at once goes a moment later. */
    const instancesAre = async (count: number) => {
      const running = async () =>
        new Set(
          (await inventory(server.dataDir)).flatMap(
            (line) => /^cgroup .*\/((ta|in)-\w+)/.exec(line)?.[1] ?? [],
          ),
        );
      for (const end = performance.now() + patient(60_000); (await running()).size !== count; ) {
        assert.ok(performance.now() < end, [...(await running())].join(' '));
        await delay(100);
      }
    };

    test('exec goes on, terminate and timeouts end, create and snapshot say what is missing', async () => {
      await python(`
create("keeper")
for name in ["victim", "with-sidecar"]:
    create(name)
for name in ["keeper", "with-sidecar"]:
    named(name)._experimental_sidecars.create("sleep", "3600", name="helper", image=image).exec("true").wait()
works(named("keeper"))
`);
      takeAway();
      const { pid } = server;
      const said = await python(`
timed = None
works(named("keeper"))
works(named("with-sidecar")._experimental_sidecars.get(name="helper"))
print("create", fails(lambda: create("new").exec("true").wait()))
print("snapshot", fails(lambda: named("keeper").snapshot_filesystem(timeout=60)))
works(named("keeper"))
named("with-sidecar").terminate(wait=True)
named("victim").terminate(wait=True)
named("keeper")._experimental_sidecars.get(name="helper").terminate(wait=True)
works(named("keeper"))
`);
      assert.match(said, /^create .*run(c|sc) is not installed/m);
      assert.match(said, /^snapshot .*run(c|sc) is not installed/m);
      assert.equal(server.pid, pid);
      // In the kernel of another sandbox gVisor alone can end one: that is for when it is back, or the other ends.
      await instancesAre(runtime === 'gvisor' ? 2 : 1);
    });

    test('when it is back, all is well', async () => {
      bringBack();
      await instancesAre(1);
      await python(`
works(named("keeper"))
create("new")
works(named("new"))
snapshot = named("keeper").snapshot_filesystem(timeout=60)
works(modal.Sandbox.create(app=app, image=snapshot, name="of-snapshot"))
named("new").terminate(wait=True)
named("of-snapshot").terminate(wait=True)
`);
    });

    test('one that is paused for a snapshot when it goes missing runs on when it is back', async () => {
      takeAway();
      // Goes away by itself once it has paused something.
      const script = `#!/bin/sh
case " $* " in
  *" pause "*) ${JSON.stringify(aside)} "$@"; code=$?; rm -f "$0"; exit $code ;;
esac
exec ${JSON.stringify(aside)} "$@"`;
      writeFileSync(program, script, { mode: 0o755 });
      await python(`
try:
    named("keeper").snapshot_filesystem(timeout=60)
except modal.exception.Error as error:
    print(error)
`);
      assert.equal(existsSync(program), false, 'it went while the sandbox was paused');
      bringBack();
      await python(`
works(named("keeper"))
`);
    });

    test('a timeout ends a sandbox without it', async () => {
      await python(`
create("timed", timeout=15)
works(named("timed"))
`);
      takeAway();
      const said = await python(`
timed = named("timed")
print(fails(timed.wait))
`);
      assert.match(said, /^SandboxTimeoutError/);
      await instancesAre(1);
    });

    test('a server that starts without it ends what ran, says what is missing, and can be taken down', async () => {
      await server.restartGracefully();
      const said = await python(`
print(fails(lambda: create("new").exec("true").wait()))
print(fails(lambda: named("keeper")))
`);
      assert.match(said, /run(c|sc) is not installed|is not an executable file/);
      assert.match(said, /^NotFoundError/m);
      assert.deepEqual(
        (await inventory(server.dataDir)).filter((line) => /(ta|in)-\w{20}/.test(line)),
        [],
      );
      await server.terminate(); // and `stop` takes it down without the program
    });
  });
}
