/** What in the data directory takes how much room. */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../platform/command.ts';
import type { Collector } from './collector.ts';

/** Volumes may have very many files. */
const COUNT_TIMEOUT_MS = 10 * 60_000;

/** A kind of data, in bytes on the disk. */
export interface DiskPart {
  readonly what:
    | 'images'
    | 'files'
    | 'volumes'
    | 'volumes-mounted'
    | 'sandboxes'
    | 'memory-snapshots'
    | 'output'
    | 'records';
  readonly bytes: number;
  /** How many images or uploaded files. */
  readonly count?: number;
  /** Of that, what nobody uses and what could be made or sent again: what a collection may take. */
  readonly collectableBytes?: number;
}

export interface DiskUse {
  /** Of the file system that the data directory is on. */
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly parts: readonly DiskPart[];
}

/** Relative to the data directory. A file that two of them share counts for the first. */
const PLACES = {
  volumes: ['volumes/layers', 'volumes/uploads', 'volumes/tmp'],
  'volumes-mounted': ['volumes/mounted', 'kept-disks'],
  sandboxes: ['disks', 'instances'],
  'memory-snapshots': ['memory-snapshots'],
  output: ['output'],
  records: ['skerry.db', 'skerry.db-wal', 'images/logs', 'server.log', 'server.log.1'],
} as const satisfies Partial<Record<DiskPart['what'], readonly string[]>>;

export async function diskUse(dataDir: string, collector: Collector): Promise<DiskUse> {
  const paths = Object.values(PLACES).flat();
  const [{ images, files }, sizes, { bavail, blocks, bsize }] = await Promise.all([
    collector.look(),
    sizesOf(dataDir, paths),
    statfs(dataDir),
  ]);
  const cached = [
    { what: 'images', bytes: images.bytes, count: images.count, collectableBytes: images.unheldBytes },
    { what: 'files', bytes: files.bytes, count: files.count, collectableBytes: files.unheldBytes },
  ] as const;
  const others = Object.entries(PLACES).map(([what, places]) => ({
    what: what as keyof typeof PLACES, // its own keys
    bytes: places.reduce((sum, place) => sum + (sizes.get(place) ?? 0), 0),
  }));
  return { sizeBytes: blocks * bsize, freeBytes: bavail * bsize, parts: [...cached, ...others] };
}

/** What is not there is left out, and so is what goes while it is counted. */
async function sizesOf(dataDir: string, paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const argv = ['du', '-s', '-x', '-B1', '--', ...paths.map((path) => join(dataDir, path))] as const;
  const { stdout } = await run(argv, { timeoutMs: COUNT_TIMEOUT_MS, okCodes: [1] });
  return new Map(
    stdout.split('\n').flatMap((line) => {
      const match = /^(\d+)\t(.*)$/.exec(line);
      return match?.[1] && match[2] ? [[match[2].slice(dataDir.length + 1), Number(match[1])]] : [];
    }),
  );
}
