import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../platform/command.ts';
import { inOwnMountNamespace } from '../platform/mounts.ts';

const module = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

/**
 * A server's first start, its death, the disk becoming full, and its next start, as far as lock and store go: with no room at all, and then, of as many
 * data directories, with 1 KiB, 2 KiB and so on, which are enough for some of what a start may want.
 */
const SCRIPT = `
import { copyFileSync, fstatSync, ftruncateSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { lockDataDir } from ${module('../platform/exclusive.ts')};
import { openStore } from ${module('store.ts')};
const [directory] = process.argv.slice(1);
const start = (place) => {
  const unlock = lockDataDir(place);
  const store = openStore(place);
  return { store, stop: () => { store.close(); unlock(); } };
};
/** As a server leaves it that is killed: nothing is moved out of the log of the database. */
const killed = (place) => {
  mkdirSync(place);
  const { store, stop } = start(place);
  store.settings.set('boot-id', 'before');
  const log = join(place, 'skerry.db-wal');
  copyFileSync(log, join(place, 'log'));
  stop();
  renameSync(join(place, 'log'), log);
};
const places = Array.from({ length: 32 }, (_, index) => join(directory, String(index)));
for (const place of places) killed(place);
const filling = openSync(join(directory, 'filling'), 'w');
const fill = () => {
  for (const size of [1 << 20, 1 << 10]) {
    try { for (;;) writeSync(filling, Buffer.alloc(size)); } catch (error) { if (error.code !== 'ENOSPC') throw error; }
  }
};
for (const [room, place] of places.entries()) {
  fill();
  ftruncateSync(filling, fstatSync(filling).size - room * 1024);
  const { store, stop } = start(place);
  if (store.settings.get('boot-id') !== 'before') throw new Error('forgotten');
  if (room === 0) try { lockDataDir(place); } catch (error) { console.log(error.code); }
  stop();
}
console.log('all');
`;

/** With blocks that are smaller than a page of memory, a page can have room in the file and yet none on the disk. */
const fileSystems = {
  tmpfs: 'mount -t tmpfs -o size=64m tmpfs "$1"',
  ext4: 'truncate -s 64M "$1.img" && mkfs.ext4 -q -b 1024 -m 0 "$1.img" && mount -o loop "$1.img" "$1"',
};

const missing = (name: string): false | string => {
  if (process.getuid?.() !== 0) return 'needs root';
  return name === 'ext4' && !existsSync('/dev/loop-control') ? 'no loop devices here' : false;
};

for (const [name, make] of Object.entries(fileSystems)) {
  test(`on a full ${name} a server takes its lock and reads its store as ever`, {
    skip: missing(name),
  }, async (t) => {
    const scratch = await mkdtemp(join(tmpdir(), 'skerry-full-'));
    t.after(() => rm(scratch, { recursive: true, force: true }));
    const directory = join(scratch, 'data');
    await mkdir(directory);
    const shell = `${make} && exec "$2" --input-type=module --eval "$3" "$1"`;
    const command = ['sh', '-c', shell, 'sh', directory, process.execPath, SCRIPT] as const;
    const { stdout } = await run(inOwnMountNamespace([...command]));
    assert.deepEqual(stdout.trim().split('\n'), ['conflict', 'all']);
  });
}
