/** Chains of snapshots: few layers, whatever their number, which show the same as all of them would. */
import assert from 'node:assert/strict';
import { type ExecFileOptions, execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { treesBinaryPath } from '../agent/agent-binary.ts';
import { run } from '../platform/command.ts';
import { mountOverlay } from '../platform/overlayfs.ts';
import type { Image } from './image.ts';
import { MAX_SNAPSHOT_LAYERS } from './snapshot-layers.ts';
import { DEFINITION, openImages, resultOf } from './testing/images.ts';

const usable = process.getuid?.() === 0 && existsSync(treesBinaryPath());
const skip = usable ? false : 'needs root and the program for trees of files';
const sh = (script: string, options: ExecFileOptions = {}) =>
  promisify(execFile)('sh', ['-ec', script], { ...options, encoding: 'utf8' });

/** Mounts layers, the lowest first, for as long as `use` takes; what it changes is in `upper`. */
async function withOverlay<T>(
  t: TestContext,
  layers: readonly string[],
  use: (root: string, upper: string) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-chain-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const [root, upper, work] = ['root', 'upper', 'work'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const each of [root, upper, work]) await mkdir(each);
  await mountOverlay({
    ...{ layers, writable: { upper, work }, target: root, options: [] },
    linksDir: join(directory, 'links'),
  });
  try {
    return await use(root, upper);
  } finally {
    await run(['umount', root]);
  }
}

/** What a program can see of a tree, but inode numbers, and link counts of directories, by which overlayfs tells merged ones. */
const look = async (root: string) => {
  const list =
    "find . -mindepth 1 -type d -printf '%P d %m %U:%G %T@\\n' -o -mindepth 1 -printf '%P %y %m %U:%G %s %n %T@ %l\\n' | sort";
  const content =
    'find . -type f | sort | xargs sha256sum; python3 -c "import os; print(os.listxattr(\'kept/file\'))"';
  return (await sh(`${list}; ${content}`, { cwd: root })).stdout;
};

test('two hundred snapshots, each of a sandbox started from the one before, have few layers and lose nothing', {
  skip,
}, async (t) => {
  const { images } = await openImages(t);
  const { id } = await images.getOrBuild(DEFINITION);
  await resultOf(images, id);
  let image: Image = images.get(id);
  for (let number = 1; number <= 200; number++) {
    image = await images.addLayer(image, async ({ directory }) => {
      await mkdir(directory);
      await writeFile(join(directory, String(number)), `${number}\n`);
    });
    assert.ok(image.layers.length <= MAX_SNAPSHOT_LAYERS);
    assert.equal(images.get(image.id).snapshots, image.layers.length);
  }
  await withOverlay(t, images.layerDirectories(image), async (root) => {
    assert.equal((await readdir(root)).length, 200);
    assert.equal((await sh('cat 1 100 200', { cwd: root })).stdout, '1\n100\n200\n');
  });
});

/** What each sandbox of a chain does to the files of the ones before, so that its layer hides, replaces or reveals. */
const STEPS = [
  'mkdir -p dir/deep gone kept; echo 1 > dir/deep/file; echo 1 > gone/file; echo 1 > kept/file; ln kept/file kept/other; chmod 2751 dir; chown 5:6 dir; ln -s dir link; mkfifo fifo',
  "rm -r gone base/removed base/directory; rm base/file; echo 2 > dir/deep/file; python3 -c \"import os; os.setxattr('kept/file', 'user.mine', b'2')\"; truncate -s 1M hole; echo end >> hole",
  'mkdir gone base/directory; echo 3 > gone/new; echo 3 > base/directory/new; rm link; mkdir link; echo 3 > link/file',
  'rm -r dir; echo 4 > dir; rm kept/other; mv link moved; mkdir -p base/file/now/a/directory',
  'rm dir; mkdir dir; touch dir/empty; rm -r base/file/now; chmod 700 .; echo 5 > base/kept',
];

test('merged layers show what all of them would, over whatever is below', { skip }, async (t) => {
  const scratch = await mkdtemp(join(tmpdir(), 'skerry-merge-'));
  t.after(() => rm(scratch, { recursive: true, force: true }));
  const base = join(scratch, 'base');
  await sh(
    'mkdir -p base/removed/below base/directory/below; cd base; echo b > removed/below/file; echo b > directory/below/file; echo b > file; echo b > kept',
    { cwd: await mkdir(base).then(() => base) },
  );
  const layers: string[] = [];
  for (const [number, script] of STEPS.entries()) {
    await withOverlay(t, [base, ...layers], async (root, upper) => {
      await sh(script, { cwd: root });
      layers.push(join(scratch, `layer${number}`));
      await run(['cp', '-a', upper, join(scratch, `layer${number}`)]);
    });
  }
  const all = await withOverlay(t, [base, ...layers], look);
  // Each way to divide them, so that each layer's marks meet those of each other.
  for (let first = 0; first < layers.length - 1; first++) {
    for (let last = first + 2; last <= layers.length; last++) {
      const merged = join(scratch, `merged-${first}-${last}`);
      await mkdir(merged, { mode: 0o700 });
      await run([treesBinaryPath(), 'merge', merged, ...layers.slice(first, last)]);
      const stack = [base, ...layers.slice(0, first), merged, ...layers.slice(last)];
      assert.equal(await withOverlay(t, stack, look), all, `layers ${first} to ${last - 1} merged`);
    }
  }
});
