/** A process that writes in a volume, commits, reloads and copies is killed at random moments: the version before is there or the one after, whole. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { noFaultPoint } from '../platform/fault-points.ts';
import { mountsBelow, unmountBelow } from '../platform/mounts.ts';
import { delay } from '../platform/wait.ts';
import { generation } from './testing/generations.ts';
import { openTestDisks } from './testing/test-disks.ts';
import { VolumeSetting } from './testing/volume-setting.ts';

const program = fileURLToPath(new URL('./testing/killed-writer.ts', import.meta.url));
const skip = process.getuid?.() === 0 ? false : 'mounting needs root';
/** More with SKERRY_TEST_KILLS. */
const KILLS = Number(process.env.SKERRY_TEST_KILLS) || 4;
/** From the beginning of a generation: one takes about half of it. */
const LATEST_MOMENT_MS = 400;

/** What the volume holds, or a directory of the host, by path. */
type Content = ReadonlyMap<string, string>;

const noDisks = existsSync('/dev/loop-control') ? false : 'no loop devices here';

test(`killed at ${KILLS} random moments, a volume is never a mix`, { skip }, (t) => kills(t, ''));

test('nor where what is written is on disks', { skip: skip || noDisks }, (t) => kills(t, 'disks'));

async function kills(t: TestContext, on: '' | 'disks'): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'skerry-crashes-'));
  t.after(async () => {
    await unmountBelow(root);
    rmSync(root, { recursive: true, force: true });
  });
  let last = 0;
  let left: Content = new Map();
  for (let kill = 1; kill <= KILLS; kill++) {
    const momentMs = randomInt(LATEST_MOMENT_MS);
    const { kept, begun } = await writeUntil(root, last, momentMs, on);
    const where = `kill ${kill}, ${momentMs} ms after the beginning of a generation: ${kept} kept, ${begun} begun`;
    const disks = on === 'disks' ? await openTestDisks(root) : undefined;
    const setting = new VolumeSetting(root, noFaultPoint, disks);
    try {
      const before = filesOfGeneration(await contentOf(setting));
      const number = Number(before.get('0')?.split('/')[0] ?? 0);
      assert.ok(number >= kept && number <= begun, `${where}: found ${number}`);
      // Its writer may have been killed while it removed a generation: then that is what it left.
      assert.deepEqual(before, number <= last ? left : generation(number), where);
      const tree = await writerTree(root, setting);
      await setting.mounts.recover(new Set());
      const after = filesOfGeneration(await contentOf(setting));
      if (tree) assert.deepEqual(after, tree, `${where}: what was written is there`);
      left = after;
      assert.deepEqual(setting.store.volumeMounts.all(), []);
      assert.deepEqual(await readdir(join(root, 'volumes', 'mounted')), []);
      assert.deepEqual(await mountsBelow(root), []);
      assert.deepEqual((await disks?.kept.names()) ?? [], []);
      await setting.files.sweep(Date.now());
    } finally {
      await setting.close();
    }
    last = begun;
  }
}

/** Runs the writer until that time after some generation it began. */
async function writeUntil(root: string, last: number, momentMs: number, on: string) {
  const child = spawn(process.execPath, [program, root, String(last), on], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const progress = { kept: 0, begun: last };
  const chosen = last + 1 + randomInt(4);
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, number] = line.split(' ');
    if (what === 'kept') progress.kept = Number(number);
    if (what === 'writing') progress.begun = Number(number);
    if (what === 'writing' && Number(number) === chosen)
      void delay(momentMs).then(() => child.kill('SIGKILL'));
  }
  const [code, signal] = await exited;
  assert.deepEqual([code, signal], [null, 'SIGKILL']);
  return progress;
}

async function contentOf(setting: VolumeSetting): Promise<Content> {
  const content = new Map<string, string>();
  for await (const { path, kind } of setting.files.list(setting.volume, '/', { recursive: true }))
    if (kind === 'file') content.set(path, await setting.text(path));
  return content;
}

/** What is in the writer's tree, which still is mounted; undefined when it was not made yet, or another has to come over it. */
async function writerTree(root: string, { store }: VolumeSetting): Promise<Content | undefined> {
  const [writer] = store.volumeMounts.all();
  const at = writer && join(root, 'v', writer.id);
  if (!at || !(await mountsBelow(join(root, 'v'))).includes(at)) return undefined;
  const content = new Map<string, string>();
  const names = await readdir(join(at, 'dir')).catch(() => []);
  for (const name of names) content.set(name, await readFile(join(at, 'dir', name), 'utf8'));
  return content;
}

/** Those of `dir`, without it. */
const filesOfGeneration = (content: Content): Content =>
  new Map(
    [...content].flatMap(([path, text]) => (path.startsWith('dir/') ? [[path.slice(4), text] as const] : [])),
  );
