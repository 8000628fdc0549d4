/** `skerry disk` and `skerry prune` beside the official client: what goes is what nobody uses and what can be made again. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../server/src/platform/command.ts';
import { pythonWith } from './support/clients.ts';
import { runProgram } from './support/program.ts';
import { projectRoot, settledInventory } from './support/server.ts';

/** Images of busybox, so that no base has to be made: this data directory is the test's own, since others' images would go as well. */
const common = `
import modal, pathlib, sys
app = modal.App.lookup("collection", create_if_missing=True)
def built(name):
    return (modal.Image.from_scratch().add_local_file("/bin/busybox", "/bin/busybox", copy=True)
        .dockerfile_commands(['RUN ["/bin/busybox", "--install", "-s", "/bin"]', "ENV PATH=/bin", f"RUN head -c 3000000 /dev/zero > /{name}"])
        .build(app))
def create(image):
    return modal.Sandbox.create("sleep", "600", app=app, image=image)
def ls(sandbox):
    return sandbox.exec("ls", "/").stdout.read().split()
def missing(image_id):
    try:
        create(modal.Image.from_id(image_id))
    except modal.exception.NotFoundError as error:
        return str(error)
`;

interface Use {
  readonly freeBytes: number;
  readonly parts: readonly {
    readonly what: string;
    readonly bytes: number;
    readonly count?: number;
    readonly collectableBytes?: number;
  }[];
}

describe('room on the disk, from the command line and the client', () => {
  const home = mkdtempSync(join(tmpdir(), 'collection-'));
  const dataDir = join(home, 'data');
  const shell = { PATH: process.env.PATH ?? '', HOME: home };
  const skerry = async (...args: string[]) => {
    const argv = [process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args] as const;
    return (await run([...argv, '--data-dir', dataDir], { env: shell, timeoutMs: 180_000 })).stdout;
  };
  let env: Record<string, string>;
  const python = async (source: string): Promise<string> => {
    const { code, stdout, stderr } = await runProgram([pythonWith(), '-c', common + source], {
      env: { ...shell, ...env },
    });
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const imagesOf = (use: Use) => use.parts.find(({ what }) => what === 'images');
  const use = async (): Promise<Use> => JSON.parse(await skerry('disk', '--json'));
  const layers = () => readdirSync(join(dataDir, 'images/layers')).length;

  before(async () => {
    await skerry('up', '--port', '0');
    env = JSON.parse(await skerry('env', '--format', 'json'));
  });
  after(async () => {
    await skerry('down');
    assert.deepEqual(await settledInventory(dataDir), []);
    rmSync(home, { recursive: true, force: true });
  });

  test('what is in use, named, or a snapshot stays; the rest goes, and a client with only the id of it is told so', async () => {
    const [unused = '', running = '', sandbox = '', published = '', snapshot = ''] = (
      await python(`
unused, running, published = [built(name) for name in ("unused", "running", "published")]
published.publish("kept")
sandbox = create(running)
print(unused.object_id, running.object_id, sandbox.object_id, published.object_id, sandbox.snapshot_filesystem().object_id)`)
    ).split(' ');
    const before = await use();
    const unheld = imagesOf(before)?.collectableBytes ?? 0;
    assert.ok(unheld >= 3_000_000 && unheld < 6_000_000, `only the one is unused: ${unheld}`);
    assert.match(await skerry('disk'), /^images and cached build steps +\d+\.\d MiB +\d+ +[23]\.\d MiB$/m);

    assert.equal(await skerry('prune'), 'There was nothing to remove.\n', 'by itself nothing so young goes');
    const there = layers();
    assert.match(
      await skerry('prune', '--unused-for', '0m', '--dry-run'),
      /^Would remove \d\.\d MiB: 1 layers of images, 1 uploaded files\.\n$/,
    );
    assert.equal(layers(), there);
    assert.match(await skerry('prune', '--unused-for', '0m'), /^Removed \d\.\d MiB: 1 layers of images, 1 /);
    assert.equal(layers(), there - 1);
    assert.equal(imagesOf(await use())?.collectableBytes, 0);

    await python(`
words = missing("${unused}")
assert words and "${unused}" in words, words
for image_id, name in [("${running}", "running"), ("${published}", "published"), ("${snapshot}", "running")]:
    sandbox = create(modal.Image.from_id(image_id))
    assert name in ls(sandbox), ls(sandbox)
    sandbox.terminate()
sandbox = create(modal.Image.from_name("kept"))
assert "published" in ls(sandbox)
sandbox.terminate()
assert "running" in ls(modal.Sandbox.from_id("${sandbox}"))
again = built("unused")
assert again.object_id != "${unused}"
sandbox = create(again)
assert "unused" in ls(sandbox)
sandbox.terminate()
modal.Sandbox.from_id("${sandbox}").terminate()`);
  });

  test('what is no time is refused', async () => {
    await assert.rejects(skerry('prune', '--unused-for', '3'), /is no time: write 90m, 12h or 7d/);
  });
});
