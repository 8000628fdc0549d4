import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import * as z from 'zod/mini';
import { type ContextFile, contextFiles, ignoreRules } from '../build-context.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { callControlPlane } from '../control-plane.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { localServer } from '../sandboxes/connection.ts';
import { requireRunningServer, type ServerState } from '../server-state.ts';
import { printLogs } from './image-logs.ts';

/** Larger files go through an URL of their own. */
const MAX_INLINE_BYTES = 1 << 20;
const HASHES_AT_ONCE = 1000;
/** What the wire calls a secret that only this build has. */
const EPHEMERAL = 5;
const BLOB_TIMEOUT_MS = 60 * 60_000;

interface Options {
  readonly file?: string;
  readonly tag: readonly string[];
  readonly buildArg: readonly string[];
  readonly secret: readonly string[];
  readonly cache: boolean;
  readonly json?: boolean;
}

const collect = (value: string, before: readonly string[]): string[] => [...before, value];

/** `skerry image build`: the same build as the clients', from a Dockerfile and a directory. */
export function imageBuildCommand(): Command {
  const build = new Command('build')
    .description('build an image of a Dockerfile and the files beside it')
    .argument('<context>', 'the directory whose files COPY takes, but for those in its .dockerignore')
    .option('-f, --file <file>', 'the Dockerfile; that of the context by default')
    .option('-t, --tag <name>', 'a name for it; may be given again', collect, [])
    .option('--build-arg <name=value>', 'a value for an ARG; may be given again', collect, [])
    .option(
      '--secret <id=NAME,src=FILE>',
      'for RUN --mount=type=secret,id=NAME, and as a variable of each RUN; src=FILE, or env=VARIABLE; may be given again',
      collect,
      [],
    )
    .option('--no-cache', 'carry out all steps anew')
    .option('--json', 'print the log as one JSON object a piece of text');
  return addDataDirOptions(build).action(async (context: string, options: Options) => {
    const dataDir = dataDirOf(build);
    const server = requireRunningServer(dataDir);
    const dockerfile = options.file ?? join(context, 'Dockerfile');
    const text = await readFile(dockerfile, 'utf8').catch((error: Error) => {
      throw new CliError(`The Dockerfile cannot be read: ${error.message}`);
    });
    const links: string[] = [];
    const files = await contextFiles(context, await ignoreRules(context, dockerfile), (path) =>
      links.push(path),
    );
    if (links.length > 0)
      process.stderr.write(
        `Left out of the context, as no files: ${links.slice(0, 5).join(', ')}${links.length > 5 ? ', ...' : ''}\n`,
      );
    const secrets = await secretsOf(options.secret);
    const call = <T>(rpc: string, request: Readonly<Record<string, unknown>>, answer: z.core.$ZodType<T>) =>
      callControlPlane(localServer(dataDir), rpc, request, answer);
    const image = {
      dockerfileCommands: text.split('\n'),
      buildArgs: Object.fromEntries(options.buildArg.map((pair) => pairOf(pair, '--build-arg'))),
      ...(files.length > 0 && { contextMountId: await sendContext(files, call) }),
      ...(Object.keys(secrets).length > 0 && { secretIds: [await sendSecrets(secrets, call)] }),
    };
    const { imageId } = await call(
      'ImageGetOrCreate',
      { image, forceBuild: !options.cache },
      z.object({ imageId: z.string() }),
    );
    await printLogs(dataDir, imageId, options);
    await finish(server, dataDir, imageId, options.tag);
    if (!options.json) process.stderr.write(`${imageId}\n`);
  });
}

/** @throws CliError when it was not built */
async function finish(
  server: ServerState,
  dataDir: string,
  image: string,
  names: readonly string[],
): Promise<void> {
  const path = `images/${image}/history`;
  await askServer(server, dataDir, { method: 'GET', path }, z.unknown());
  for (const name of names) {
    const request = { method: 'POST', path: 'images/tag', body: { image, name } } as const;
    await askServer(server, dataDir, request, z.unknown());
  }
}

type Call = <T>(
  rpc: string,
  request: Readonly<Record<string, unknown>>,
  answer: z.core.$ZodType<T>,
) => Promise<T>;

async function sendContext(files: readonly ContextFile[], call: Call): Promise<string> {
  const bySum = new Map(files.map((file) => [file.sha256, file]));
  const sums = [...bySum.keys()];
  for (let at = 0; at < sums.length; at += HASHES_AT_ONCE) {
    const { missingSha256HexHashes } = await call(
      'MountBatchedCheckExistence',
      { sha256HexHashes: sums.slice(at, at + HASHES_AT_ONCE) },
      z.object({ missingSha256HexHashes: z._default(z.array(z.string()), []) }),
    );
    for (const sum of missingSha256HexHashes) {
      const file = bySum.get(sum);
      if (file) await sendFile(file, call);
    }
  }
  const { mountId } = await call(
    'MountGetOrCreate',
    {
      objectCreationType: EPHEMERAL,
      files: files.map(({ path, sha256, mode }) => ({ filename: `/${path}`, sha256Hex: sha256, mode })),
    },
    z.object({ mountId: z.string() }),
  );
  return mountId;
}

async function sendFile({ file, bytes, sha256 }: ContextFile, call: Call): Promise<void> {
  if (bytes <= MAX_INLINE_BYTES) {
    const data = (await readFile(file)).toString('base64');
    await call('MountPutFile', { sha256Hex: sha256, data }, z.unknown());
    return;
  }
  const announced = {
    contentSha256Base64: Buffer.from(sha256, 'hex').toString('base64'),
    contentLength: bytes,
  };
  const { blobId, uploadUrl } = await call(
    'BlobCreate',
    announced,
    z.object({ blobId: z.string(), uploadUrl: z.string() }),
  );
  const response = await fetch(uploadUrl, {
    method: 'PUT',
    body: createReadStream(file),
    duplex: 'half',
    headers: { 'content-length': String(bytes) },
    signal: AbortSignal.timeout(BLOB_TIMEOUT_MS),
  });
  if (!response.ok) throw new CliError(`${file} was not taken: ${await response.text()}`);
  await call('MountPutFile', { sha256Hex: sha256, dataBlobId: blobId }, z.unknown());
}

async function sendSecrets(envDict: Readonly<Record<string, string>>, call: Call): Promise<string> {
  const request = { objectCreationType: EPHEMERAL, envDict };
  return (await call('SecretGetOrCreate', request, z.object({ secretId: z.string() }))).secretId;
}

async function secretsOf(given: readonly string[]): Promise<Record<string, string>> {
  const secrets: Record<string, string> = {};
  for (const each of given) {
    const options = new Map(each.split(',').map((part) => pairOf(part, '--secret')));
    const id = options.get('id') ?? usage(`--secret ${each} has no id`);
    const [src, env] = [options.get('src') ?? options.get('source'), options.get('env')];
    if (src !== undefined)
      secrets[id] = await readFile(src, 'utf8').catch(() => usage(`there is no file ${src}`));
    else secrets[id] = process.env[env ?? id] ?? usage(`there is no variable ${env ?? id}`);
  }
  return secrets;
}

function pairOf(text: string, option: string): [string, string] {
  const at = text.indexOf('=');
  return at < 1 ? usage(`${option} takes name=value, not ${text}`) : [text.slice(0, at), text.slice(at + 1)];
}

const usage = (problem: string): never => {
  throw new CliError(problem, ExitStatus.usage);
};
