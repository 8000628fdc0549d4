/** Volumes in sandboxes while the server dies and comes back, through the official client. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runPython } from '../support/clients.ts';
import { inventory } from '../support/inventory.ts';
import type { ProgramResult } from '../support/program.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';

const common = `
import io, sys, modal
app = modal.App.lookup("life", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
def sh(sandbox, script):
    process = sandbox.exec("sh", "-c", script)
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait() == 0, err
    return out
def content(volume, path):
    return b"".join(volume.read_file(path)).decode()
`;

/** One sandbox stays; one ends by itself once the file it waits for is there, which is when nobody is left to see it. */
const start = (name: string) => `${common}
volume = modal.Volume.from_name("${name}", create_if_missing=True)
with volume.batch_upload(force=True) as batch:
    batch.put_file(io.BytesIO(b"from the client"), "uploaded")
stays = modal.Sandbox.create(app=app, image=image, volumes={"/data": volume}, timeout=24 * 3600)
ends = modal.Sandbox.create("sh", "-c", "until test -e /data/go; do sleep 0.1; done; sleep 3; echo late > /data/late", app=app, image=image, volumes={"/data": volume}, timeout=24 * 3600)
sh(stays, "echo committed > /data/committed; sync /data")
volume.commit()
sh(stays, "echo not yet > /data/uncommitted; rm /data/uploaded; mkdir /data/dir; nohup sh -c 'until test -e /stop; do date > /data/dir/clock; sleep 0.1; done' >/dev/null 2>&1 &")
sh(ends, "touch /data/go")
print(stays.object_id, ends.object_id)
`;

const look = (name: string, [stays, ends]: readonly string[]) => `${common}
volume = modal.Volume.from_name("${name}")
ends = modal.Sandbox.from_id("${ends}")
ends.wait()
assert content(volume, "late") == "late\\n"
assert content(volume, "committed") == "committed\\n"
assert content(volume, "uncommitted") == "not yet\\n"
names = sorted(entry.path for entry in volume.listdir("/", recursive=True))
assert names == ["committed", "dir", "dir/clock", "go", "late", "uncommitted"], names
stays = modal.Sandbox.from_id("${stays}")
sh(stays, "test ! -e /data/late && touch /stop")
stays.reload_volumes()
assert sh(stays, "cat /data/late") == "late\\n"
sh(stays, "echo after > /data/after")
stays.terminate(wait=True)
assert content(volume, "after") == "after\\n"
`;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`volumes and a server that dies under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    for (const how of ['killed', 'ended gracefully'] as const) {
      test(`nothing that was written is lost when it is ${how}`, async () => {
        const name = `${runtime}-${how.split(' ')[0]}`;
        const ids = words(await runPython(server, start(name)));
        if (how === 'killed') await server.kill9();
        else await server.terminate();
        await server.restart();
        words(await runPython(server, look(name, ids)));
      });
    }

    test('sandboxes that died with it have left what they wrote', async () => {
      words(await runPython(server, start(`${runtime}-died`)));
      await server.kill9();
      for (const line of await inventory(server.dataDir)) {
        const pid = /^process (\d+) .* cgroup=\/./.exec(line)?.[1];
        if (pid !== undefined) killIfThere(Number(pid));
      }
      await server.restart();
      const left = `${common}
assert content(modal.Volume.from_name("${runtime}-died"), "uncommitted") == "not yet\\n"
`;
      words(await runPython(server, left));
    });
  });
}

/** Others of a sandbox go with its first process. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** What a program printed, which must have ended well. */
function words({ code, stdout, stderr }: ProgramResult): string[] {
  assert.equal(code, 0, stderr);
  return stdout.trim().split(' ');
}
