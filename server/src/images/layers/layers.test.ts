/** Layers made from hostile archives and trees: nothing outside the layer may change. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, test } from 'node:test';
import { crc32, gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import type { LayerEdit } from './edit.ts';
import { editLayer } from './edit-layer.ts';

let root: string;
let outside: string;
let lower: string;
let count = 0;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'skerry-layers-'));
  outside = join(root, 'outside');
  lower = join(root, 'lower');
  await mkdir(join(lower, 'usr/bin'), { recursive: true });
  await mkdir(join(lower, 'etc/conf'), { recursive: true });
  await writeFile(join(lower, 'etc/conf/a'), 'a');
  await writeFile(join(lower, 'etc/conf/b'), 'b');
  await mkdir(outside);
  await writeFile(join(outside, 'victim'), 'intact');
  await symlink(outside, join(lower, 'absolute'));
  await symlink('../../../../../../..', join(lower, 'up'));
  await symlink('usr/bin', join(lower, 'bin'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

type Entry = Partial<Header> & { readonly name: string; readonly text?: string };

async function apply(...entries: Entry[]): Promise<string> {
  return applyArchive(await packedTar(entries));
}

async function packedTar(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const { text, ...header } of entries) archive.entry(header, text ?? '');
  archive.finalize();
  // The package's stream is one of buffers; its type says less.
  return buffer(archive as AsyncIterable<Buffer>);
}

const applyArchive = (archive: Buffer): Promise<string> => applyFile(gzipSync(archive));

async function applyFile(content: Buffer): Promise<string> {
  const workspace = join(root, `w${++count}`);
  await mkdir(workspace);
  const file = join(workspace, 'layer');
  await writeFile(file, content);
  await editLayer(
    { workspace, layers: [lower], edit: { kind: 'apply-tar', file, maxBytes: 1 << 30 } },
    AbortSignal.timeout(30_000),
  );
  return join(workspace, 'upper');
}

const GNU_TAR = ['--create', '--format=posix', '--numeric-owner'];
const words = (...each: number[]) => Buffer.from(Uint32Array.from(each).buffer).toString('hex');

/** Attributes that are not the overlay's, by file. */
function attributesOf(directory: string): string[][] {
  const flags = ['-hRPd', '-m', '^(security|user)', '-e', 'hex', '--absolute-names'];
  const dump = execFileSync('getfattr', [...flags, directory])
    .toString()
    .trim();
  if (dump === '') return [];
  return dump
    .split('\n\n')
    .map((each) => each.replace(`# file: ${directory}/`, '').split('\n'))
    .sort();
}

type CopyEdit = Extract<LayerEdit, { kind: 'copy' }>;
const COPY = {
  kind: 'copy',
  ...{
    chown: undefined,
    chmod: undefined,
    parents: false,
    exclude: [],
    heredocs: [],
    link: false,
    unpack: false,
  },
} as const;

/** @returns the new layer */
async function copied(change: Partial<CopyEdit> & Pick<CopyEdit, 'source' | 'patterns'>): Promise<string> {
  const workspace = await mkdtemp(join(root, 'copy-'));
  const edit: CopyEdit = { ...COPY, destination: '/to/', ...change };
  await editLayer({ workspace, layers: [lower], edit }, AbortSignal.timeout(30_000));
  return join(workspace, 'upper');
}

const untouched = async () => {
  assert.deepEqual(await readdir(outside), ['victim']);
  assert.equal(await readFile(join(outside, 'victim'), 'utf8'), 'intact');
};

test('archives with names outside are refused', async () => {
  for (const name of ['../outside/x', 'a/../../outside/x']) {
    await assert.rejects(apply({ name, text: 'x' }), {
      code: 'image-build-failed',
      message: /outside of it/,
    });
  }
  await untouched();
});

test('a FIFO in a directory whose name is no text is not made where a link of a similar name leads', async () => {
  const archive = await packedTar([
    { name: 'Entry', type: 'directory' },
    { name: '\uFFFDntry', type: 'symlink', linkname: outside },
    { name: 'Entry/fifo', type: 'fifo' },
  ]);
  for (let at = 0; at < archive.length; at += 512) {
    if (archive.toString('latin1', at, at + 5) !== 'Entry') continue;
    archive[at] = 0xff; // which the package that writes archives takes for no name
    archive.write(' '.repeat(8), at + 148);
    const sum = archive.subarray(at, at + 512).reduce((all, byte) => all + byte, 0);
    archive.write(`${sum.toString(8).padStart(6, '0')}\0`, at + 148);
  }
  await assert.rejects(applyArchive(archive), /a FIFO whose name is not UTF-8/);
  await untouched();
});

test('files keep their capabilities where the archive says them whole, and no other attribute', async () => {
  const capability = (hex: string) => ({
    'SCHILY.xattr.security.capability': Buffer.from(hex, 'hex').toString(),
    'SCHILY.xattr.user.other': 'x',
  });
  const [raw, bind] = [1 << 13, 1 << 10];
  const upper = await apply(
    { name: 'ping', text: 'x', mode: 0o755, uid: 5, pax: capability(words(0x2000001, raw, 0, 0, 0)) },
    { name: 'same', type: 'link', linkname: 'ping' },
    { name: 'rooted', text: 'x', pax: capability(words(0x3000000, bind, bind, 0, 0, 0)) },
    { name: 'of-another-root', text: 'x', pax: capability(words(0x3000000, bind, 0, 0, 0, 1000)) },
    { name: 'later', text: 'x', pax: capability(words(0x4000001, raw, 0, 0, 0)) },
    { name: 'short', text: 'x', pax: capability('01000002') },
    { name: 'directory', type: 'directory', pax: capability(words(0x2000001, raw, 0, 0, 0)) },
    { name: 'link', type: 'symlink', linkname: 'short', pax: capability(words(0x2000001, raw, 0, 0, 0)) },
  );
  assert.deepEqual(attributesOf(upper), [
    ['ping', `security.capability=0x${words(0x2000001, raw, 0, 0, 0)}`],
    ['rooted', `security.capability=0x${words(0x2000000, bind, bind, 0, 0)}`],
    ['same', `security.capability=0x${words(0x2000001, raw, 0, 0, 0)}`],
  ]);
  assert.equal((await lstat(join(upper, 'ping'))).mode & 0o7777, 0o755);
});

test('what GNU tar writes of names and capabilities comes through, though it is no UTF-8', async () => {
  const tree = join(root, 'tree');
  await mkdir(tree);
  const name = Buffer.from(`${'\xff'.repeat(120)}`, 'latin1');
  const file = Buffer.concat([Buffer.from(`${tree}/`), name]);
  await writeFile(file, 'x');
  const all = words(0x2000001, 0xffff_ffff, 0, 0x1ff, 0);
  const plain = join(tree, 'every');
  await writeFile(plain, 'x');
  execFileSync('setfattr', ['-n', 'security.capability', '-v', `0x${all}`, plain]);
  const tar = execFileSync('tar', [...GNU_TAR, '--xattrs', '--xattrs-include=*', '-C', tree, '.']);
  const upper = await applyArchive(tar);
  assert.deepEqual(attributesOf(upper), [['every', `security.capability=0x${all}`]]);
  assert.ok((await readdir(upper, { encoding: 'buffer' })).some((each) => each.equals(name)));
});

test('COPY keeps the capabilities of an image, with another owner and mode too, and no other attribute', async () => {
  const stage = join(root, 'stage');
  await mkdir(join(stage, 'bin'), { recursive: true });
  await mkdir(Buffer.from(`${stage}/d\xff`, 'latin1'));
  const [raw, other] = [words(0x2000001, 1 << 13, 0, 0, 0), words(0x2000000, 0x80, 0x80, 0, 0)];
  for (const [name, hex] of [
    ['bin/ping', raw],
    ['bin/with\\ and\nline', other],
    ['alone', other],
  ] as const) {
    await writeFile(join(stage, name), 'x', { mode: 0o755 });
    execFileSync('setfattr', ['-n', 'security.capability', '-v', `0x${hex}`, join(stage, name)]);
  }
  execFileSync('setfattr', ['-n', 'user.other', '-v', 'x', join(stage, 'alone')]);
  await symlink('ping', join(stage, 'bin/link'));
  const copy = async (patterns: readonly string[], change: Partial<CopyEdit> = {}) =>
    join(await copied({ source: { kind: 'layers', layers: [stage] }, patterns, ...change }), 'to');
  const said = (hex: string) => `security.capability=0x${hex}`;
  const inBin = [
    ['ping', said(raw)],
    ['with\\134 and\\012line', said(other)],
  ];
  assert.deepEqual(attributesOf(await copy(['/bin'])), inBin);
  const owned = await copy(['/bin/ping', '/alone', '/d*'], { chown: '5:6', chmod: '700' });
  assert.deepEqual(attributesOf(owned), [
    ['alone', said(other)],
    ['ping', said(raw)],
  ]);
  const { mode, uid, gid } = await lstat(join(owned, 'ping'));
  assert.deepEqual([mode & 0o7777, uid, gid], [0o700, 5, 6]);
  // What takes the place of a file that has some has none.
  const heredocs = [{ name: 'ping', content: 'another' }];
  assert.deepEqual(attributesOf(await copy(['/bin'], { heredocs })), inBin.slice(1));
});

test('COPY of a directory gives owners and modes to those in it, and with --link to all on its way, as BuildKit does', async () => {
  const [stage, owned] = [join(root, 'stage'), join(root, 'stage/d/tmp')];
  await mkdir(join(owned, 'sub'), { recursive: true });
  await chmod(owned, 0o750);
  await chown(owned, 5, 6);
  await chmod(join(stage, 'd'), 0o711);
  await mkdir(join(lower, 'a/tmp'), { recursive: true });
  await chmod(join(lower, 'a'), 0o775);
  await chmod(join(lower, 'a/tmp'), 0o1777);
  await writeFile(join(lower, 'etc/passwd'), 'user:x:9:9::/:\n');
  const stageFiles = { source: { kind: 'layers', layers: [stage] }, patterns: ['/d'] } as const;
  const file = { path: 'tmp/x', file: join(lower, 'etc/conf/a'), mode: 0o640 };
  const context = { source: { kind: 'context', entries: [file] }, patterns: ['.'] } as const;
  const cases: readonly [Parameters<typeof copied>[0], Readonly<Record<string, string>>][] = [
    [
      { ...stageFiles, destination: '/a/' },
      { a: '775 0:0', 'a/tmp': '750 5:6', 'a/tmp/sub': '755 0:0' },
    ],
    [
      { ...stageFiles, destination: '/a', chown: '9:9', chmod: '700' },
      { a: '775 0:0', 'a/tmp': '700 9:9', 'a/tmp/sub': '700 9:9' },
    ],
    [
      { ...stageFiles, destination: '/new/deeper', chown: 'user' },
      { new: '755 9:9', 'new/deeper': '755 9:9', 'new/deeper/tmp': '750 9:9' },
    ],
    // Clients send no directories.
    [
      { ...context, destination: '/a/' },
      { a: '775 0:0', 'a/tmp': '1777 0:0', 'a/tmp/x': '640 0:0' },
    ],
    [
      { ...stageFiles, destination: '/a/', link: true },
      { a: '755 0:0', 'a/tmp': '750 5:6', 'a/tmp/sub': '755 0:0' },
    ],
    [
      { ...context, destination: '/absolute/new/', link: true, chown: 'user' },
      { absolute: '755 9:9', 'absolute/new': '755 9:9', 'absolute/new/tmp/x': '640 9:9' },
    ],
  ];
  for (const [change, expected] of cases) {
    const upper = await copied(change);
    const found = await Promise.all(
      Object.keys(expected).map(async (path) => {
        const { mode, uid, gid } = await lstat(join(upper, path));
        return [path, `${(mode & 0o7777).toString(8)} ${uid}:${gid}`];
      }),
    );
    assert.deepEqual(Object.fromEntries(found), expected, change.destination);
  }
  await untouched();
});

test('links in layers below and in the archive itself stay inside', async () => {
  const upper = await apply(
    { name: 'absolute/new', text: 'x' },
    { name: 'up/new', text: 'x' },
    { name: 'own', type: 'symlink', linkname: outside },
    { name: 'own/new', text: 'x' },
    { name: 'own2', type: 'symlink', linkname: `${outside}/victim` },
    { name: 'own2', text: 'replaced' },
    { name: 'd', type: 'directory' },
    { name: 'd/e', type: 'directory', mtime: new Date(0) },
    { name: 'd', type: 'symlink', linkname: outside },
    { name: '/bin/tool', text: 'x', mode: 0o4755, uid: 7, gid: 8 },
  );
  await untouched();
  assert.equal(await readFile(join(upper, 'own2'), 'utf8'), 'replaced');
  assert.equal(await readFile(join(upper, outside, 'new'), 'utf8'), 'x');
  const tool = await lstat(join(upper, 'usr/bin/tool'));
  assert.deepEqual([tool.mode & 0o7777, tool.uid, tool.gid], [0o4755, 7, 8]);
});

test('hard links reach only what is in the image', async () => {
  await assert.rejects(
    apply({ name: 'x', type: 'link', linkname: `${outside}/victim` }),
    /which is not in the image/,
  );
  await assert.rejects(
    apply({ name: 'x', type: 'link', linkname: '../../outside/victim' }),
    /which is not in the image/,
  );
  const upper = await apply({ name: 'one', text: '1' }, { name: 'two', type: 'link', linkname: 'one' });
  assert.equal((await lstat(join(upper, 'one'))).ino, (await lstat(join(upper, 'two'))).ino);
  await untouched();
});

test('whiteouts hide files of the layers below, opaque ones a whole directory, in any order', async () => {
  const upper = await apply(
    { name: 'etc/.wh.conf2', text: '' },
    { name: 'etc/conf/mine', text: 'x' },
    { name: 'etc/conf/.wh.a', text: '' },
    { name: 'usr/.wh..wh..opq', text: '' },
    { name: 'absolute/.wh.victim', text: '' },
    { name: 'up/.wh.outside', text: '' },
  );
  await untouched();
  const gone = await lstat(join(upper, 'etc/conf/a'));
  assert.ok(gone.isCharacterDevice() && gone.rdev === 0);
  assert.deepEqual((await readdir(join(upper, 'etc/conf'))).sort(), ['a', 'mine']);
  assert.ok((await lstat(join(upper, 'usr/bin'))).isCharacterDevice());
  await assert.rejects(apply({ name: 'etc/.wh...', text: '' }), /bad whiteout/);
});

test('device nodes are left out, damaged archives are told', async () => {
  const upper = await apply({ name: 'disk', type: 'block-device', devmajor: 8, devminor: 0 });
  assert.equal(existsSync(join(upper, 'disk')), false);
  const file = join(root, 'broken.tar');
  await writeFile(file, gzipSync(Buffer.from('not a tar archive'.repeat(100))));
  const workspace = join(root, 'broken');
  await mkdir(workspace);
  await assert.rejects(
    editLayer(
      { workspace, layers: [lower], edit: { kind: 'apply-tar', file, maxBytes: 1 << 30 } },
      AbortSignal.timeout(30_000),
    ),
    { code: 'image-build-failed' },
  );
});

test('ADD unpacks what has an archive in it, and copies what is only compressed', async () => {
  const add = async (bytes: Buffer) => {
    const workspace = await mkdtemp(join(root, 'add-'));
    const file = join(workspace, 'source');
    await writeFile(file, bytes);
    const edit = {
      ...COPY,
      source: { kind: 'context', entries: [{ path: 'source', file, mode: 0o644 }] },
      ...{ patterns: ['source'], destination: '/added/', unpack: true },
    } as const;
    await editLayer({ workspace, layers: [lower], edit }, AbortSignal.timeout(30_000));
    return (await readdir(join(workspace, 'upper/added'))).sort();
  };
  const tar = await packedTar([{ name: 'inside', text: 'x' }]);
  assert.deepEqual(await add(tar), ['inside']);
  assert.deepEqual(await add(Buffer.from('plain')), ['source']);
  for (const packer of ['gzip', 'xz', 'bzip2']) {
    const packed = (input: Buffer) => execFileSync(packer, ['-c'], { input, maxBuffer: 1 << 22 });
    assert.deepEqual(await add(packed(tar)), ['inside'], packer);
    assert.deepEqual(await add(packed(Buffer.alloc(2000, 'x'))), ['source'], packer);
    const large = packed(await packedTar([{ name: 'f', text: randomBytes(1_000_000).toString('hex') }]));
    await assert.rejects(add(large.subarray(0, -200_000)), /the archive is damaged: /, packer);
    assert.deepEqual(await add(large.subarray(0, 20)), ['source'], packer);
  }
});

test('a layer of more than a million files is refused before any of them is made', async () => {
  const [header] = (await packedTar([{ name: 'f' }])).toString('latin1').match(/^.{512}/s) ?? [];
  const tenThousand = gzipSync(Buffer.from((header ?? '').repeat(10_000), 'latin1'));
  const workspace = join(root, 'many');
  await mkdir(workspace);
  const file = join(workspace, 'layer');
  await writeFile(file, Buffer.concat(Array.from({ length: 101 }, () => tenThousand)));
  const edit = { kind: 'apply-tar', file, maxBytes: 1 << 30 } as const;
  const made = editLayer({ workspace, layers: [lower], edit }, AbortSignal.timeout(120_000));
  await assert.rejects(made, /unpacks to more than Skerry allows/);
  assert.deepEqual(await readdir(join(workspace, 'upper')), []);
});

test('an archive that asks for much memory to be decompressed is refused', async () => {
  const packed = execFileSync('xz', ['-c'], { input: await packedTar([{ name: 'f', text: 'x' }]) });
  // https://tukaani.org/xz/xz-file-format.txt: the size of the dictionary, 4 GiB less a byte, and the sum of the header that it is in.
  packed[16] = 40;
  packed.writeUInt32LE(crc32(packed.subarray(12, 20)), 20);
  await assert.rejects(applyFile(packed), /needs more than 256MiB to unpack/);
});

test('COPY neither reads nor writes through links to the host', async () => {
  const stage = join(root, 'stage');
  await mkdir(stage);
  await symlink(join(outside, 'victim'), join(stage, 'stolen'));
  await symlink(outside, join(stage, 'dir'));
  const copy = async (
    patterns: string[],
    destination: string,
    entries = [{ path: 'f', file: join(lower, 'etc/conf/a'), mode: 0o640 }],
  ) => {
    const workspace = join(root, `c${++count}`);
    await mkdir(workspace);
    const source =
      patterns[0] === 'f'
        ? ({ kind: 'context', entries } as const)
        : ({ kind: 'layers', layers: [stage] } as const);
    const edit = { ...COPY, source, patterns, destination };
    await editLayer({ workspace, layers: [lower], edit }, AbortSignal.timeout(30_000));
    return join(workspace, 'upper');
  };
  const upper = await copy(['f'], '/absolute/new');
  assert.equal(await readFile(join(upper, outside, 'new'), 'utf8'), 'a');
  assert.equal((await lstat(join(upper, outside, 'new'))).mode & 0o777, 0o640);
  await copy(['f'], '/up/outside/');
  await untouched();
  await assert.rejects(copy(['/stolen'], '/x'), /no such file or directory/);
  await assert.rejects(copy(['/dir/victim'], '/x'), /no such file or directory/);
  // Links inside a copied directory stay links.
  assert.ok((await lstat(join(await copy(['/'], '/x'), 'x/stolen'))).isSymbolicLink());
});
