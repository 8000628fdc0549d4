/**
 * The program that makes one layer on top of others: it runs in a mount namespace of its own, mounts the layers as an overlay there, edits the merged tree,
 * and leaves the changes in `<workspace>/upper`. When it dies, its mounts are gone with it.
 *
 * Standard input: a WorkerJob as JSON. Standard output: a WorkerAnswer as JSON.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { firstError } from '../../errors/first-error.ts';
import { toBytes } from '../../platform/byte-paths.ts';
import { run } from '../../platform/command.ts';
import { mountOverlay } from '../../platform/overlayfs.ts';
import { applyTar } from './apply-tar.ts';
import { copyInto } from './copy.ts';
import { installCpython } from './cpython.ts';
import { EditError, type WorkerAnswer, type WorkerJob } from './edit.ts';
import { lstat, RootedTree } from './rooted.ts';
import { ContextTree, ImageTree } from './source-tree.ts';
import { unpack } from './unpack.ts';

/** What is in the layers is data here: no device, setuid bit or program of theirs is used. */
const OPTIONS = ['nodev', 'nosuid', 'noexec'];

async function edit(job: WorkerJob): Promise<readonly string[]> {
  const isAlone = job.edit.kind === 'copy' && job.edit.link;
  const below = isAlone ? [] : job.layers;
  const merged = await mountLayers(job.workspace, below, 'target', join(job.workspace, 'upper'));
  await using mounted = new AsyncDisposableStack();
  // The upper directory is complete only once the overlay let go of it.
  if (below.length > 0) mounted.defer(async () => void (await run(['umount', merged])));
  return await apply(new RootedTree(merged), job);
}

async function apply(
  target: RootedTree,
  { edit: change, workspace, layers }: WorkerJob,
): Promise<readonly string[]> {
  switch (change.kind) {
    case 'make-directory': {
      const host = target.makeDirectories(toBytes(change.path));
      if (!lstat(host)?.isDirectory()) throw new EditError(`${change.path} is not a directory in the image`);
      return [];
    }
    case 'copy': {
      const source =
        change.source.kind === 'context'
          ? new ContextTree(change.source.entries)
          : new ImageTree(
              new RootedTree(await mountLayers(workspace, change.source.layers, 'source', undefined)),
            );
      const owners = change.link
        ? new RootedTree(await mountLayers(workspace, layers, 'owners', undefined))
        : target;
      await copyInto(target, source, change, owners);
      return [];
    }
    case 'apply-tar':
      return applyTar(toBytes(change.file), target, {
        // To look for them is to decompress the whole layer once more.
        whiteouts: layers.length === 0 ? 'none there' : true,
        below: '',
        maxBytes: change.maxBytes,
      });
    case 'unpack':
      await unpack(target, change);
      return [];
    case 'cpython':
      await installCpython(target, change);
      return [];
    default:
      return change satisfies never;
  }
}

/** Mounts layers (lowest first) below the workspace; writable when there is an `upper`. Without anything to merge it is the directory itself. */
async function mountLayers(
  workspace: string,
  layers: readonly string[],
  name: string,
  upper: string | undefined,
): Promise<string> {
  const directory = join(workspace, name);
  mkdirSync(directory);
  if (upper !== undefined) mkdirSync(upper, { mode: 0o755 });
  if (layers.length === 0) return upper ?? join(directory);
  const [only] = layers;
  if (upper === undefined && layers.length === 1 && only !== undefined) return only;
  const target = join(directory, 'm');
  mkdirSync(target);
  const writable = upper === undefined ? undefined : { upper, work: join(directory, 'work') };
  if (writable) mkdirSync(writable.work);
  await mountOverlay({ layers, writable, target, linksDir: directory, options: OPTIONS });
  return target;
}

function answerFor(thrown: unknown): WorkerAnswer {
  const error = firstError(thrown);
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const message = error instanceof Error ? error.message : String(error);
  // These come from what the image or the instruction names, the rest from the machine.
  const callers = error instanceof EditError || ['ELOOP', 'ENOTDIR', 'ENAMETOOLONG', 'EISDIR'].includes(code);
  return { ok: false, blame: callers ? 'caller' : 'machine', code, message };
}

// The server that started this process is the only one that writes to its standard input.
const job = (await json(process.stdin)) as WorkerJob;
const answer: WorkerAnswer = await edit(job).then((notes) => ({ ok: true, notes }), answerFor);
process.stdout.write(JSON.stringify(answer));
