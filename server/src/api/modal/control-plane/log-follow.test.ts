import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { Domain } from '../../../sandboxes/testing/domain.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { followLogs } from './log-follow.ts';

/** Files below `directory` that this process has open. */
const openFiles = (directory: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(directory) ? [path] : [];
    } catch {
      return []; // closed meanwhile
    }
  });

test('a follower that leaves holds no file, though there was more to read', async () => {
  await using domain = await Domain.open();
  const script = `head -c 400000 /dev/zero | tr '\\0' 'x'; sleep 1000`;
  const sandbox = await domain.running({ args: ['sh', '-c', script] });
  while (sandbox.stdout.length < 400_000) await new Promise(setImmediate);
  const before = openFiles(domain.dataDir);
  const gone = new AbortController(); // never aborted: the follower leaves by itself
  let text = '';
  for await (const entry of followLogs({
    find: () => [sandbox],
    after: '',
    source: FileDescriptor.STDOUT,
    complete: () => false,
    now: Date.now,
    signal: gone.signal,
  })) {
    text += entry.text;
    break;
  }
  assert.ok(text.length > 0 && text.length < 400_000, 'there was more');
  while (openFiles(domain.dataDir).length > before.length) await new Promise(setImmediate);
});
