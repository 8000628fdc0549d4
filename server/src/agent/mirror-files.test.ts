/** What a sandbox says of its volumes may be anything: `skerry-trees collect` and `deliver` are told lies here. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { after, beforeEach, describe, it } from 'node:test';
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
  top,
  u32,
} from './testing/told-files.ts';

describe('volumes that a sandbox has a copy of', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-mirror-'));
  const [tree, state, outside] = ['tree', 'state', 'outside'].map((name) => join(directory, name)) as [
    ...[string, string, string],
  ];
  const at = (path: string) => join(tree, path);
  beforeEach(async () => {
    for (const path of [tree, state, outside]) await rm(path, { recursive: true, force: true });
    for (const path of [tree, outside]) await mkdir(path);
  });
  after(() => rm(directory, { recursive: true }));

  /** @param said all that the sandbox says, in the order of what it is asked */
  const talk = async (which: 'collect' | 'deliver', ...said: readonly Buffer[]) => {
    const child = spawn(treesBinaryPath(), [which, tree, state], { stdio: 'pipe' });
    child.stdin.on('error', () => {});
    child.stdin.end(Buffer.concat(said));
    const [asked, stderr] = [buffer(child.stdout), text(child.stderr)];
    const [code] = await once(child, 'close');
    assert.deepEqual(await readdir(outside), [], 'it wrote somewhere else');
    return { code, asked: (await asked).toString('latin1'), stderr: await stderr };
  };
  const content = (word: string) =>
    given(FILE, [], Buffer.concat([chunk(0, Buffer.from(word)), size(word.length)]));

  it('are written as they are said to be, and asked for once', async () => {
    const list = listing(top, entry(DIRECTORY, 'd'), entry(FILE, 'd/f'), entry(LINK, 'd/l', '../../etc'));
    const first = await talk('collect', list, content('abc'));
    assert.equal(first.code, 0, first.stderr);
    assert.deepEqual((await readdir(tree, { recursive: true })).sort(), ['d', 'd/f', 'd/l']);
    assert.equal(await readFile(at('d/f'), 'utf8'), 'abc');
    const second = await talk('collect', list);
    assert.deepEqual([second.code, second.asked], [0, 'L'], second.stderr);
    // Nothing is to be told of what came from there.
    assert.equal((await talk('deliver', answer('k'), stat(DIRECTORY))).code, 0);
    const gone = await talk('collect', listing(top, entry(DIRECTORY, 'd')));
    assert.equal(gone.code, 0);
    assert.deepEqual(await readdir(tree, { recursive: true }), ['d']);
  });

  it('are asked for again where they changed while they were given', async () => {
    const list = listing(top, entry(FILE, 'f'));
    const other = given(FILE, [], size(0));
    other.writeUInt32LE(999, 1 + 72); // when it changed, nanoseconds
    assert.equal((await talk('collect', list, other)).code, 0);
    assert.equal((await talk('collect', list, content('later'))).code, 0);
    assert.equal(await readFile(at('f'), 'utf8'), 'later');
  });

  it('lead nowhere else', async () => {
    const paths = [
      '..',
      '../outside/x',
      '/x',
      'a/../../x',
      'a//x',
      './x',
      'missing/x',
      'x\0y',
      'x'.repeat(256),
    ];
    for (const list of [
      ...paths.map((path) => listing(top, entry(FILE, path))),
      listing(top, entry(LINK, 'l', outside), entry(FILE, 'l/x')),
      listing(entry(FILE, 'x')),
      listing(),
    ]) {
      assert.equal((await talk('collect', list, content('x'))).code, 2);
    }
    // Where a link was a directory is now: here it still is the link.
    await symlink(outside, at('l'));
    const now = await talk('collect', listing(top, entry(DIRECTORY, 'l'), entry(FILE, 'l/x')), content('x'));
    assert.equal(now.code, 0, now.stderr);
    assert.ok((await lstat(at('l'))).isDirectory());
    assert.equal(await readFile(at('l/x'), 'utf8'), 'x');
  });

  it('are no more than a volume takes at once, and nothing that was not asked for', async () => {
    const large = await talk('collect', listing(top, sized(2 ** 36, 'a'), sized(1, 'b')));
    assert.deepEqual([large.code, /more than 64 GiB/.test(large.stderr)], [3, true]);
    const list = listing(top, entry(FILE, 'f'));
    await writeFile(at('f'), 'before');
    for (const gave of [
      given(FILE, [], size(2 ** 52)),
      given(FILE, [], chunk(2 ** 52, Buffer.from('x'))),
      given(0o020644),
      Buffer.concat([Buffer.from('F'), stat(FILE), u32(2 ** 31)]),
      Buffer.from('?'),
      Buffer.of(),
    ]) {
      assert.equal((await talk('collect', list, gave)).code, 2);
      assert.equal(await readFile(at('f'), 'utf8'), 'before');
    }
    const kinds = listing(
      top,
      entry(0o140755, 'socket'),
      entry(0o020644, 'device'),
      entry(FILE, '.skerry-incoming'),
    );
    assert.equal((await talk('collect', kinds)).code, 0);
    assert.deepEqual((await readdir(tree)).sort(), ['f']);
  });

  it('are remembered as they came, whatever the sandbox answers', async () => {
    await writeFile(at('a'), 'a');
    await writeFile(at('b'), 'b');
    const nonsense = await talk(
      'deliver',
      answer('k'),
      stat(DIRECTORY),
      answer('k'),
      stat(FILE),
      answer('?'),
    );
    assert.equal(nonsense.code, 2);
    const again = await talk('deliver', answer('n'));
    assert.equal(again.code, 0, again.stderr);
    assert.ok(again.asked.startsWith('F\x01\x00b'), 'what was delivered is told once more');
    const full = await talk('deliver', Buffer.concat([answer('X'), u32(28)]));
    assert.deepEqual([full.code, /No space left/.test(full.stderr)], [6, true]);
  });
});
