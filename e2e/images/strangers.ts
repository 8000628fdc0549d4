/**
 * Dockerfiles in the manner of public projects: the instructions, flags and stages of theirs in words of our own, with programs of the base that stand in for what a
 * network or a compiler would be needed for. Beside each is what the image of it must be, or how it is refused.
 */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { run } from '../../server/src/platform/command.ts';
import { projectRoot } from '../support/server.ts';

const directory = join(projectRoot, 'e2e/images/strangers');

const fileSchema = z.union([
  z.string(),
  z.strictObject({ text: z.string(), mode: z.string().regex(/^[0-7]+$/) }),
  /** An archive of these files, in the format that its name says. */
  z.strictObject({ tar: z.record(z.string(), z.string()) }),
]);
const strangerSchema = z.strictObject({
  /** Repository and path of the Dockerfile whose instructions these are. */
  of: z.string(),
  context: z.record(z.string(), fileSchema).default({}),
  /** Files of a web server, whose address is the build argument FILES. */
  served: z.record(z.string(), z.string()).default({}),
  buildArgs: z.record(z.string(), z.string()).default({}),
  secrets: z.record(z.string(), z.string()).default({}),
  /** Fields of the configuration as OCI has it; one that is not there may be anything. */
  config: z.record(z.string(), z.unknown()).default({}),
  /** What is at a path: kind, mode, owner, and the text of a small file. */
  files: z.record(z.string(), z.string()).default({}),
  /** The build fails before anything runs, with a message about the line that matches. */
  refused: z.strictObject({ line: z.number(), message: z.string() }).optional(),
});

export type Stranger = z.infer<typeof strangerSchema> & {
  readonly name: string;
  readonly dockerfile: string;
};

/** A `skerry image` command. @throws when it fails */
export type Skerry = (...args: string[]) => Promise<string>;
/** The same, whatever becomes of it. */
export type Tried = (
  ...args: string[]
) => Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;

export function readStrangers(): readonly Stranger[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.Dockerfile'))
    .sort()
    .map((file) => {
      const name = file.slice(0, -'.Dockerfile'.length);
      const read = (suffix: string) => readFileSync(join(directory, `${name}.${suffix}`), 'utf8');
      return { ...strangerSchema.parse(JSON.parse(read('json'))), name, dockerfile: read('Dockerfile') };
    });
}

/** The instructions of a Dockerfile and their flags, each once, in order of their names. */
export function instructionsOf(dockerfile: string): readonly string[] {
  const escaped = /^#\s*escape=`/im.test(dockerfile) ? '`' : '\\\\';
  const joined = dockerfile
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(new RegExp(`${escaped}[ \\t]*\\n`, 'g'), ' ');
  const found = new Set<string>();
  for (const [, trigger = '', keyword = '', rest = ''] of joined.matchAll(
    /^\s*(ONBUILD\s+)?([A-Za-z]+)(\s.*)?$/gm,
  )) {
    const word = keyword.toUpperCase();
    if (!KEYWORDS.includes(word)) continue;
    if (trigger !== '') found.add('ONBUILD');
    found.add(word);
    for (const [, flag = '', type = ''] of (/^(\s+--\S+)*/.exec(rest)?.[0] ?? '').matchAll(
      /--([a-z-]+)(?:=\S*?type=([a-z]+))?/g,
    ))
      found.add(`${word} --${flag}${type && `=${type}`}`);
    if (/<<-?["']?[A-Za-z]/.test(rest)) found.add(`${word} <<`);
  }
  return [...found].sort();
}

const KEYWORDS: readonly string[] =
  'ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR'.split(
    ' ',
  );

/** Names of the image that all of them start from. */
export const BASES = ['base', 'base:1', 'base:1-slim'];

/** Writes what that image is built of. @param scratch an empty directory of the caller @returns the context */
export function writeBase(scratch: string): string {
  const context = join(scratch, 'base');
  cpSync(join(directory, 'base'), context, { recursive: true });
  copyFileSync('/bin/busybox', join(context, 'busybox'));
  return context;
}

export async function buildBase(skerry: Skerry, scratch: string): Promise<void> {
  await skerry('image', 'build', writeBase(scratch), ...BASES.flatMap((name) => ['-t', name]));
}

/** Writes the Dockerfile and its context. @returns the directory */
export async function writeContext(
  { name, dockerfile, context }: Stranger,
  scratch: string,
): Promise<string> {
  const root = join(scratch, name);
  for (const [path, file] of [['Dockerfile', dockerfile] as const, ...Object.entries(context)]) {
    const target = join(root, path);
    mkdirSync(dirname(target), { recursive: true });
    if (typeof file === 'string') writeFileSync(target, file, { mode: 0o644 });
    else if ('text' in file) writeFileSync(target, file.text, { mode: Number.parseInt(file.mode, 8) });
    else {
      const below = join(scratch, `${name}-archive`);
      for (const [entry, text] of Object.entries(file.tar)) {
        mkdirSync(dirname(join(below, entry)), { recursive: true });
        writeFileSync(join(below, entry), text, { mode: 0o644 });
      }
      await run(['tar', '--auto-compress', '-cf', target, '--owner=0', '--group=0', '-C', below, '.']);
    }
  }
  return root;
}

/** The flags by which `skerry image build` and `buildctl` are given its secrets, which are written to files. */
export const secretFlags = ({ name, secrets }: Stranger, scratch: string): string[] =>
  Object.entries(secrets).flatMap(([id, value], index) => {
    const file = join(scratch, `${name}-secret-${index}`);
    writeFileSync(file, value);
    return ['--secret', `id=${id},src=${file}`];
  });

/** Arguments of the build, with the address of the web server for its files, which lives as long as `work`. */
export async function withServed<T>(
  { served, buildArgs }: Stranger,
  work: (buildArgs: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  if (Object.keys(served).length === 0) return work(buildArgs);
  const server = createServer((request, response) => {
    const text = served[(request.url ?? '').slice(1)];
    response.writeHead(text === undefined ? 404 : 200).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  try {
    return await work({ ...buildArgs, FILES: `http://127.0.0.1:${address.port}` });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Builds one, and asserts that the image is what it must be, or that it is refused as it must be. @param scratch an empty directory of the caller */
export async function tryStranger(
  skerry: Skerry,
  tried: Tried,
  stranger: Stranger,
  scratch: string,
): Promise<void> {
  const { name, refused } = stranger;
  const context = await writeContext(stranger, scratch);
  const tag = `stranger-${name}`;
  const { code, stdout, stderr } = await withServed(stranger, (buildArgs) =>
    tried(
      ...['image', 'build', context, '-t', tag, ...secretFlags(stranger, scratch)],
      ...Object.entries(buildArgs).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]),
    ),
  );
  if (refused) {
    assert.notEqual(code, 0, `${name} was built`);
    assert.match(stderr, new RegExp(`Dockerfile line ${refused.line}: .*${refused.message}`));
    assert.doesNotMatch(stdout, /^ ---> Done/m, 'nothing ran');
    return;
  }
  assert.equal(code, 0, `${name}: ${stdout}\n${stderr}`);
  assertConfig(stranger, await configOf(skerry, tag, join(scratch, `${name}.tar`)));
  assert.deepEqual(await filesOf(skerry, tag, Object.keys(stranger.files), scratch), stranger.files);
}

/** Fields of the configuration of an image. @param actual as OCI has it */
export function assertConfig({ config }: Stranger, actual: Readonly<Record<string, unknown>>): void {
  const chosen = Object.fromEntries(
    Object.keys(config).map((key) => [key, actual[key] ?? emptied(config[key])]),
  );
  assert.deepEqual(chosen, config);
}

/** What a field that is left out says the same as. */
const emptied = (value: unknown): unknown => (value === '' ? '' : Array.isArray(value) ? [] : undefined);

async function configOf(skerry: Skerry, tag: string, archive: string): Promise<Record<string, unknown>> {
  await skerry('image', 'export', tag, '-o', archive);
  return configAt(`oci-archive:${archive}`);
}

/** The configuration of an image as it is written, with Docker's own fields. @param place as skopeo names it */
export async function configAt(place: string): Promise<Record<string, unknown>> {
  const { stdout } = await run(['skopeo', 'inspect', '--config', '--raw', place]);
  return z.object({ config: z.record(z.string(), z.unknown()) }).parse(JSON.parse(stdout)).config;
}

/** What is at paths of an image, which need not have a shell: another build looks at it. */
async function filesOf(
  skerry: Skerry,
  tag: string,
  paths: readonly string[],
  scratch: string,
): Promise<Record<string, string>> {
  const context = join(scratch, `${tag}-look`);
  mkdirSync(context, { recursive: true });
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM base\nCOPY paths look /\nRUN --mount=from=${tag},target=/image sh /look /image </paths\n`,
  );
  writeFileSync(join(context, 'paths'), paths.map((path) => `${path}\n`).join(''));
  writeFileSync(join(context, 'look'), LOOK);
  return parseLook(await skerry('image', 'build', context));
}

/** A program of a shell that says what is at the paths of its input below its first argument. */
export const LOOK = `while read -r path; do
  at="$1$path"; echo "@@ $path"
  if [ -h "$at" ]; then echo "link $(readlink "$at")"
  elif [ -d "$at" ]; then stat -c 'directory %a %u:%g' "$at"
  elif [ -f "$at" ]; then echo "file $(stat -c '%a %u:%g' "$at") $(head -c 300 "$at")"
  else echo nothing; fi
done
echo "@@ end"
`;

/** What `LOOK` said. */
export function parseLook(text: string): Record<string, string> {
  const [, ...parts] = text.split(/^@@ /m);
  return Object.fromEntries(
    parts.slice(0, -1).map((part) => {
      const at = part.indexOf('\n');
      return [part.slice(0, at), part.slice(at + 1).trimEnd()];
    }),
  );
}
