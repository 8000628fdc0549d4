import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../platform/command.ts';
import { inOwnMountNamespace } from '../platform/mounts.ts';

const module = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

/** A server's first start, the disk becoming full, and its next start, as far as lock and store go. */
const SCRIPT = `
import { writeFileSync } from 'node:fs';
import { lockDataDir } from ${module('../platform/exclusive.ts')};
import { openStore } from ${module('store.ts')};
const [directory] = process.argv.slice(1);
const start = () => {
  const unlock = lockDataDir(directory);
  const store = openStore(directory);
  return { store, stop: () => { store.close(); unlock(); } };
};
const first = start();
first.store.settings.set('boot-id', 'before');
first.stop();
try { writeFileSync(directory + '/fill', Buffer.alloc(10 << 20)); } catch (error) { console.log(error.code); }
const next = start();
console.log(next.store.settings.get('boot-id'));
try { lockDataDir(directory); } catch (error) { console.log(error.code); }
next.stop();
`;

test('on a full disk a server takes its lock and reads its store as ever', {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-full-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const shell = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" --input-type=module --eval "$3" "$1"';
  const command = ['sh', '-c', shell, 'sh', directory, process.execPath, SCRIPT] as const;
  const { stdout } = await run(inOwnMountNamespace([...command]));
  assert.deepEqual(stdout.trim().split('\n'), ['ENOSPC', 'before', 'conflict']);
});
