import { Command } from 'commander';
import * as z from 'zod/mini';
import { ask } from '../ask.ts';
import { formatColumns } from '../columns.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { printable } from '../printable.ts';
import { requireRunningServer } from '../server-state.ts';
import { formatSize } from '../sizes.ts';
import { objectALine, oneObject, tell } from '../tell.ts';
import { imageBuildCommand } from './image-build.ts';
import { logsCommand } from './image-logs.ts';
import { exportCommand, importCommand, pullCommand, pushCommand } from './image-transfer.ts';
import { pruneCommand } from './prune.ts';

/** Removing many files takes as long as it takes. */
const REMOVE_TIMEOUT_MS = 10 * 60_000;

/** `skerry image`: what of images there is on this machine, and how they come and go. */
export function imageCommand(): Command {
  const image = new Command('image').description('list, build, fetch, send and remove images');
  for (const make of [
    listCommand,
    historyCommand,
    logsCommand,
    imageBuildCommand,
    pullCommand,
    pushCommand,
    importCommand,
    exportCommand,
    tagCommand,
    removeCommand,
    pruneCommand,
  ]) {
    image.addCommand(make());
  }
  return image;
}

const listSchema = z.object({
  images: z.array(
    z.object({
      id: z.string(),
      state: z.enum(['building', 'ready', 'failed', 'cancelled']),
      names: z.array(z.string()),
      base: z.optional(z.string()),
      layers: z.number(),
      bytes: z.number(),
      createdAtMs: z.number(),
      lastUsedAtMs: z.optional(z.number()),
    }),
  ),
});
type Listed = z.infer<typeof listSchema>['images'][number];

function listCommand(): Command {
  const list = new Command('ls')
    .description('list images, newest first')
    .option('--named', 'only those that have a name')
    .option('--json', 'print one JSON object a line');
  return addDataDirOptions(list).action(async (options: { named?: boolean; json?: boolean }) => {
    const { images } = await ask(list, { method: 'GET', path: 'images' }, listSchema);
    const wanted = options.named ? images.filter(({ names }) => names.length > 0) : images;
    const text = options.json
      ? wanted.map((each) => `${JSON.stringify(each)}\n`).join('')
      : formatImages(wanted);
    process.stdout.write(text);
  });
}

/** A line for each image. Names are the callers' own: control characters in them are escaped. */
export function formatImages(images: readonly Listed[]): string {
  if (images.length === 0) return 'There is no image.\n';
  const rows = images.map(({ id, names, base, state, createdAtMs, layers, bytes }) => [
    id,
    names.join(' ') || (base === undefined ? '-' : `(${base})`),
    state,
    new Date(createdAtMs).toISOString(),
    String(layers),
    formatSize(bytes),
  ]);
  return formatColumns(
    [['IMAGE', 'NAMES', 'STATE', 'CREATED', 'LAYERS', 'SIZE'], ...rows].map((row) => row.map(printable)),
    4,
  );
}

const historySchema = z.object({
  id: z.string(),
  steps: z.array(z.object({ text: z.string(), atMs: z.number(), bytes: z.optional(z.number()) })),
});

function historyCommand(): Command {
  const history = new Command('history')
    .description('show the steps that an image came out of, first the oldest')
    .argument('<image>', 'id or name')
    .option('--json', 'print one JSON object a line');
  return addDataDirOptions(history).action(async (image: string, options: { json?: boolean }) => {
    const path = `images/${encodeURIComponent(image)}/history`;
    const { steps } = await ask(history, { method: 'GET', path }, historySchema);
    process.stdout.write(
      options.json ? steps.map((step) => `${JSON.stringify(step)}\n`).join('') : formatSteps(steps),
    );
  });
}

/** When, how much, what. */
export function formatSteps(steps: z.infer<typeof historySchema>['steps']): string {
  const rows = steps.map(({ text, atMs, bytes }) => [
    atMs === 0 ? '-' : new Date(atMs).toISOString(),
    bytes === undefined ? '-' : formatSize(bytes),
    printable(text.trim()) || '-',
  ]);
  return formatColumns([['CREATED', 'SIZE', 'STEP'], ...rows]);
}

function tagCommand(): Command {
  const tag = new Command('tag')
    .description(
      'give an image a name, for FROM, Image.from_registry and Image.from_name; it stays for as long as it has one',
    )
    .argument('<image>', 'id or name')
    .argument('<name>', 'such as tools:2, or python:3.12-slim in place of what a registry has')
    .option(...oneObject);
  return addDataDirOptions(tag).action(async (image: string, name: string, options: { json?: boolean }) => {
    await ask(tag, { method: 'POST', path: 'images/tag', body: { image, name } }, z.unknown());
    tell({ image, name }, name, options);
  });
}

function removeCommand(): Command {
  const remove = new Command('rm')
    .description(
      'remove a name, and the image with the last of its names; with an id the image. Sandboxes that run on it go on',
    )
    .argument('<image...>', 'ids or names')
    .option(...objectALine);
  return addDataDirOptions(remove).action(async (images: string[], options: { json?: boolean }) => {
    const dataDir = dataDirOf(remove);
    const server = requireRunningServer(dataDir);
    for (const image of images) {
      const request = {
        method: 'DELETE',
        path: `images/${encodeURIComponent(image)}`,
        timeoutMs: REMOVE_TIMEOUT_MS,
      } as const;
      const { removed } = await askServer(
        server,
        dataDir,
        request,
        z.object({ removed: z.array(z.string()) }),
      );
      for (const each of removed) tell({ removed: each }, `Removed ${each}`, options);
    }
  });
}
