/** Snapshots of what was started from snapshots: their layers become one before there are so many that each start is slower than the one before. */
import { mkdir } from 'node:fs/promises';
import { SkerryError } from '../errors/skerry-error.ts';
import type { LayerId } from '../ids.ts';
import { run } from '../platform/command.ts';
import type { LayerStore } from './layer-store.ts';

/** Each of them is looked through for every file that lies below; merging copies what they hold, which every so many snapshots then pay once. */
export const MAX_SNAPSHOT_LAYERS = 16;

const MERGE_TIMEOUT_MS = 30 * 60_000;
/** The program's exit code for a disk without room (`trees/src/failure.rs`). */
const NO_SPACE = 5;

/** Layers, lowest first, and how many of them from the top snapshots made. */
export interface LayerStack {
  readonly layers: readonly LayerId[];
  readonly snapshots: number;
}

/** The same stack with one layer, which is pinned, for all that snapshots made. @throws SkerryError `disk-full`, `internal`; the signal's reason */
export async function mergeSnapshots(
  { layers, snapshots }: LayerStack,
  store: LayerStore,
  treesBinaryPath: string,
  signal: AbortSignal,
): Promise<LayerStack> {
  const below = layers.slice(0, -snapshots);
  const above = layers.slice(-snapshots);
  const merged = await store.add(async ({ directory }) => {
    await mkdir(directory, { mode: 0o700 });
    const paths = above.map((layer) => store.path(layer));
    const { code, stderr } = await store.within(signal, (signal) =>
      run([treesBinaryPath, 'merge', directory, ...paths], {
        timeoutMs: MERGE_TIMEOUT_MS,
        okCodes: [NO_SPACE],
        signal,
      }),
    );
    if (code === 0) return;
    throw new SkerryError('disk-full', 'The machine is out of disk space for a copy of the files.', {
      cause: stderr,
    });
  });
  if (merged === null)
    throw new SkerryError('internal', `Nothing is left of the layers ${above.join(', ')}.`);
  return { layers: [...below, merged], snapshots: 1 };
}
