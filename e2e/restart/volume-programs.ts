/** Programs of the official Python client that have sandboxes write in volumes while no server looks. */
import assert from 'node:assert/strict';
import type { ProgramResult } from '../support/program.ts';

/** What both begin with. */
export const common = `
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
export const start = (name: string) => `${common}
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

/** After the server came back. @param ids of both */
export const look = (name: string, [stays, ends]: readonly string[]) => `${common}
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

/** What a program printed, which must have ended well. */
export function words({ code, stdout, stderr }: ProgramResult): string[] {
  assert.equal(code, 0, stderr);
  return stdout.trim().split(' ');
}
