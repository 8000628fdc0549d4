/** What a sandbox says of its files may be anything: `skerry-trees take` is told lies here. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, it } from 'node:test';
import { run } from '../platform/command.ts';
import { treesBinaryPath } from './agent-binary.ts';
import {
  answer,
  chunk,
  DIRECTORY,
  entry,
  FILE,
  given,
  LINK,
  listing,
  size,
  sized,
  stat,
  time,
  top,
  u32,
  u64,
  words,
} from './testing/told-files.ts';

describe('files that a sandbox gives', () => {
  let directory: string;
  let target: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-take-'));
    target = join(directory, 'target');
  });
  beforeEach(() => mkdir(target));
  after(() => rm(directory, { recursive: true }));

  /** All that a sandbox says, in the order of what it is asked. */
  const take = async (...said: readonly Buffer[]) => {
    const child = spawn(treesBinaryPath(), ['take', target, '2'], { stdio: 'pipe' });
    child.stdin.on('error', () => {});
    child.stdout.resume();
    child.stdin.end(Buffer.concat(said));
    const stderr = text(child.stderr);
    const [code] = await once(child, 'close');
    const found = await readdir(target, { recursive: true });
    const owner = found.includes('owned') ? (await lstat(join(target, 'owned'))).uid : undefined;
    const { stdout: attributes } = await run(['getfattr', '-hRd', '-m', '-', '--absolute-names', target]);
    await rm(target, { recursive: true });
    assert.deepEqual(await readdir(directory), [], 'it wrote somewhere else');
    return { code, found, owner, attributes, stderr: await stderr };
  };
  /** A whole copy of what is listed. */
  const whole = (list: Buffer, ...gave: readonly Buffer[]) =>
    take(list, answer('s'), list, ...gave, answer('k'));

  it('are written where they are said to be', async () => {
    const list = listing(top, entry(DIRECTORY, 'd'), entry(FILE, 'd/f'), entry(LINK, 'd/l', '../../etc'));
    const { code, found, stderr } = await whole(
      list,
      ...[given(DIRECTORY), given(DIRECTORY)],
      given(FILE, [['user.word', Buffer.from('x')]], Buffer.concat([chunk(0, Buffer.from('abc')), size(3)])),
    );
    assert.equal(code, 0, stderr);
    assert.deepEqual(found.sort(), ['d', 'd/f', 'd/l']);
  });

  it('have an empty directory where the sandbox has something mounted that the image has not', async () => {
    const mounted = Buffer.concat([Buffer.from('m'), words('d/m')]);
    const list = Buffer.concat([answer('T'), time(1), top, entry(DIRECTORY, 'd'), mounted, answer('.')]);
    const { code, found, stderr } = await whole(list, given(DIRECTORY), given(DIRECTORY));
    assert.equal(code, 0, stderr);
    assert.deepEqual(found.sort(), ['d', 'd/m']);
  });

  it('have no path that leads elsewhere', async () => {
    const lists = [
      ...['..', '../x', '/x', 'a/../../x', 'a//x', './x', 'missing/x', 'x\0y', 'x'.repeat(256)].map((path) =>
        listing(top, entry(FILE, path)),
      ),
      listing(top, entry(LINK, 'l', '/tmp'), entry(FILE, 'l/x')),
      listing(top, entry(FILE, 'f'), entry(FILE, 'f/x')),
      ...[listing(entry(FILE, 'x')), listing(top, top), listing(), listing(top, entry(LINK, 'l', ''))],
      ...[listing(top, entry(LINK, 'l', 'x'.repeat(4096))), listing(top, entry(FILE, 'f', 'x'))],
      ...[
        listing(top, entry(FILE, 'x', '', { uid: 0xffff_ffff })),
        listing(top, entry(FILE, 'x', '', { rest: 2e9 })),
      ],
      Buffer.concat([answer('T'), time(1), top, Buffer.from('M'), words('../x'), answer('.')]),
    ];
    for (const list of lists) {
      const { code, stderr } = await whole(list);
      assert.equal(code, 2, stderr);
      await mkdir(target);
    }
    await rm(target, { recursive: true });
  });

  it('have no names that fill the memory', async () => {
    const link = entry(LINK, 'l', 'x'.repeat(4000));
    const list = listing(top, ...Array(34_000).fill(link));
    const { code, stderr } = await take(list);
    assert.deepEqual([code, stderr.includes('which is too much')], [3, true], stderr);
  });

  it('are no more than what was asked for', async () => {
    const list = listing(top, entry(DIRECTORY, 'd'), entry(FILE, 'd/f'));
    const directories = [given(DIRECTORY), given(DIRECTORY)];
    for (const gave of [
      [given(LINK)],
      [given(DIRECTORY), given(0o020644)],
      [given(DIRECTORY), given(FILE, [], size(0)), answer('g')], // below what is no directory by now
      [...directories, given(FILE, [], Buffer.concat([Buffer.from('c'), u64(0), u32(2 ** 31)]))],
      [...directories, given(FILE, [], chunk(2 ** 52, Buffer.from('x')))],
      [...directories, given(FILE, [], size(2 ** 52))],
      [...directories, given(FILE, [], Buffer.from('?'))],
      [...directories, Buffer.concat([Buffer.from('F'), stat(FILE), u32(2 ** 31)])],
      [...directories, given(FILE, Array(20).fill(['user.a', Buffer.alloc(65_536)]), size(0))],
      [...directories], // and nothing more
    ]) {
      const { code } = await take(list, answer('s'), list, ...gave);
      assert.equal(code, 2);
      await mkdir(target);
    }
    const large = await take(listing(top, sized(2 ** 35, 'a'), sized(2 ** 35, 'b'), sized(1, 'c')));
    assert.equal(large.code, 3);
    assert.match(large.stderr, /more than 64 GiB/);
  });

  it('get no attribute that means something to the machine', async () => {
    const list = listing(top, entry(FILE, 'owned', '', { uid: 5 }));
    const names = ['trusted.overlay.opaque', 'trusted.overlay.redirect', 'security.selinux'];
    const theirs = [...names, 'security.capability'].map((name): [string, Buffer] => [
      name,
      Buffer.from('y'),
    ]);
    const { code, owner, attributes, stderr } = await whole(
      list,
      given(DIRECTORY, theirs),
      given(FILE, [...theirs, ['user.word', Buffer.from('x')]], size(0)),
    );
    assert.equal(code, 0, stderr);
    assert.equal(owner, 0, 'the owner is that of the file as it was given');
    assert.deepEqual(attributes.match(/^[a-z.]+=.*$/gm), ['user.word="x"']);
  });

  it('may be gone when they are asked for', async () => {
    const list = listing(top, entry(FILE, 'f', '', { links: 2 }), entry(FILE, 'g', '', { links: 2 }));
    const { code, found } = await whole(list, given(DIRECTORY), answer('g'));
    assert.deepEqual([code, found], [0, []]);
  });
});
