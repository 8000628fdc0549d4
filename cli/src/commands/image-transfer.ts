import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import * as z from 'zod/mini';
import { CliError, ExitStatus } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { followProgress, openAnswer } from '../operator-streams.ts';
import { requireRunningServer } from '../server-state.ts';
import { objectALine, oneObject, tell } from '../tell.ts';

const imageSchema = z.object({ id: z.string() });
const importedSchema = z.array(z.object({ id: z.string(), names: z.array(z.string()) }));

interface Login {
  readonly json?: boolean;
  readonly username?: string;
  readonly passwordStdin?: boolean;
}

const withLogin = (command: Command): Command =>
  command
    .option('--username <name>', 'for a registry that wants one')
    .option('--password-stdin', 'read the password from standard input');

/** Command lines are seen by every user of the machine: so the password is not in it. */
async function credentials({
  username,
  passwordStdin,
}: Login): Promise<{ username?: string; password?: string }> {
  if (username === undefined && !passwordStdin) return {};
  if (username === undefined || !passwordStdin)
    throw new CliError('--username and --password-stdin go together.', ExitStatus.usage);
  return { username, password: (await text(process.stdin)).replace(/\r?\n$/, '') };
}

/** `skerry image pull` */
export function pullCommand(): Command {
  const pull = withLogin(
    new Command('pull')
      .description('fetch an image of a registry, so that the first build or sandbox that wants it need not')
      .argument('<reference>', 'such as python:3.12-slim or ghcr.io/team/app@sha256:...')
      .option('--tag <name>', 'give it a name, under which it stays until that is removed')
      .option(...oneObject),
  );
  return addDataDirOptions(pull).action(async (reference: string, options: Login & { tag?: string }) => {
    const dataDir = dataDirOf(pull);
    const body = {
      reference,
      ...(options.tag !== undefined && { name: options.tag }),
      ...(await credentials(options)),
    };
    const request = { method: 'POST', path: 'images/pull', body } as const;
    const { id } = await followProgress(requireRunningServer(dataDir), dataDir, request, imageSchema);
    tell({ id, names: options.tag === undefined ? [] : [options.tag] }, id, options);
  });
}

/** `skerry image push` */
export function pushCommand(): Command {
  const push = withLogin(
    new Command('push')
      .description('send an image to a registry')
      .argument('<image>', 'id or name')
      .argument('<reference>', 'where to, such as ghcr.io/team/app:1')
      .option(...oneObject),
  );
  return addDataDirOptions(push).action(async (image: string, reference: string, options: Login) => {
    const dataDir = dataDirOf(push);
    const body = { image, reference, ...(await credentials(options)) };
    const request = { method: 'POST', path: 'images/push', body } as const;
    const { id } = await followProgress(requireRunningServer(dataDir), dataDir, request, imageSchema);
    tell({ id, reference }, reference, options);
  });
}

/** `skerry image import` */
export function importCommand(): Command {
  const take = new Command('import')
    .description('take the images of an archive that docker save, podman save, buildx or skopeo wrote')
    .argument('<file>', 'the archive, compressed or not; - is standard input')
    .option('--tag <name>', 'what the one image in it is to be called, instead of as it says')
    .option(...objectALine);
  return addDataDirOptions(take).action(async (file: string, options: { tag?: string; json?: boolean }) => {
    const dataDir = dataDirOf(take);
    const server = requireRunningServer(dataDir);
    if (file !== '-') await stat(file).catch(() => Promise.reject(new CliError(`There is no file ${file}.`)));
    const query = options.tag === undefined ? '' : `?name=${encodeURIComponent(options.tag)}`;
    const body = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: 1 << 20 });
    const request = { method: 'POST', path: `images/import${query}`, body } as const;
    for (const { id, names } of await followProgress(server, dataDir, request, importedSchema))
      tell({ id, names }, [id, ...names].join(' '), options);
  });
}

/** `skerry image export` */
export function exportCommand(): Command {
  const give = new Command('export')
    .description(
      'write images into an archive that docker load, podman load, skopeo and skerry image import read',
    )
    .argument('<image...>', 'ids or names; images that are named keep their names')
    .requiredOption('-o, --output <file>', 'the archive; - is standard output');
  return addDataDirOptions(give).action(async (images: string[], options: { output: string }) => {
    const dataDir = dataDirOf(give);
    const query = images.map((image) => `image=${encodeURIComponent(image)}`).join('&');
    const request = { method: 'GET', path: `images/export?${query}` } as const;
    const answer = await openAnswer(requireRunningServer(dataDir), dataDir, request);
    if (options.output === '-') return void (await pipeline(answer, process.stdout));
    // Whoever sees the name sees a whole archive.
    const part = `${options.output}.part`;
    try {
      await pipeline(answer, createWriteStream(part));
      await rename(part, options.output);
    } catch (error) {
      await rm(part, { force: true });
      throw new CliError(`The archive was not written: ${error instanceof Error ? error.message : error}`);
    }
  });
}
