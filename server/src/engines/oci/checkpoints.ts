/**
 * Checkpoints of gVisor's: a directory with the memory of an instance as runsc wrote it, what of its files is in no layer, and what can restore it. gVisor's own format changes
 * with every build, and the agent's program is mapped into the memory, so both are named.
 */
import { createHash, hkdfSync } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type KeyOf, openTree, sealTree } from '../../platform/sealed-tree.ts';
import { syncFilesystem } from '../../platform/sync-filesystem.ts';
import type { RuntimeName } from '../engine.ts';
import type { CheckpointRef, ContentPlaces } from '../references.ts';
import type { InstanceLayout } from './layout.ts';
import { copyTree } from './overlay.ts';
import { mountPlainMemory, type PlainMemory } from './plain-memory.ts';
import type { InstanceRecord } from './record.ts';
import { NO_ROOM_FOR_MEMORY, PLATFORM } from './runtime.ts';

/** What a checkpoint can be restored by: that, and nothing else. */
export type CheckpointBuild = z.infer<typeof buildSchema>;

const buildSchema = z.object({
  /** In words, for people. */
  name: z.string(),
  /** SHA-256 of runsc and of the agent, hexadecimal. */
  runsc: z.string(),
  agent: z.string(),
});

/** Where the parts of a checkpoint are. */
const partsOf = (directory: string) => ({
  memory: join(directory, 'memory'),
  sealedMemory: join(directory, 'memory.sealed'),
  etc: join(directory, 'etc'),
  build: join(directory, 'build.json'),
});

/**
 * Whether a checkpoint would have all of an instance, and could be restored.
 * @param build what it runs under, and the agent that there is now
 * @param hasJoined whether others share its network
 * @throws SkerryError `unimplemented`, `conflict`, saying what it would not have
 */
export function requireWhole(
  runtime: RuntimeName,
  record: InstanceRecord,
  { agent }: Pick<CheckpointBuild, 'agent'>,
  hasJoined: boolean,
): void {
  if (runtime !== 'gvisor') {
    throw new SkerryError(
      'unimplemented',
      `A snapshot of the memory needs gVisor, and this sandbox runs under ${runtime}.`,
    );
  }
  const isOlder = record.addressing !== 'constant' || record.agent !== agent;
  const why = whyNotWhole(record, isOlder, hasJoined);
  if (why === undefined) return;
  throw new SkerryError('conflict', `No snapshot of the memory of this sandbox can be taken, since ${why}.`);
}

function whyNotWhole(
  { joins, devices = [], bucketNetwork, mounted = [] }: InstanceRecord,
  isOlder: boolean,
  hasJoined: boolean,
): string | undefined {
  if (joins !== undefined) return 'it is a sidecar';
  if (hasJoined) return 'it has sidecars: end them first';
  if (devices.length > 0) return 'it has GPUs';
  if (bucketNetwork) return 'it has buckets mounted';
  if (mounted.length > 0) return 'it has images mounted: unmount them first';
  if (isOlder) return 'an earlier version of the server started it';
  return undefined;
}

/**
 * Has `take` fill a checkpoint, which is at `directory` when all of it is there and, unless it is `brief`, on the disk. Nothing is left when it fails.
 * @param build of the instance, that runs
 * @param brief whether it need not be on the disk
 */
export async function makeCheckpoint(
  directory: string,
  { build, brief }: { readonly build: CheckpointBuild; readonly brief: boolean },
  take: (checkpoint: CheckpointFiles) => Promise<void>,
): Promise<void> {
  const partial = `${directory}.partial`;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(partial, { recursive: true, force: true })); // not there any more once it has its name
  await rm(partial, { recursive: true, force: true });
  const { memory, build: file } = partsOf(partial);
  await mkdir(memory, { recursive: true, mode: 0o700 });
  await writeFile(file, JSON.stringify(build));
  await take(new CheckpointFiles(partial));
  if (!brief) await syncFilesystem(partial);
  await rename(partial, directory);
}

/** A checkpoint's files, being made or whole. */
export class CheckpointFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** What runsc reads and writes. */
  get memory(): string {
    return partsOf(this.#directory).memory;
  }

  /** Keeps what runsc wrote elsewhere, encrypted. */
  async sealMemory(directory: string, key: Uint8Array, signal: AbortSignal): Promise<void> {
    await sealTree(directory, partsOf(this.#directory).sealedMemory, memoryKey(key), signal).catch(
      (error: unknown) => {
        if (!(error instanceof SkerryError && error.code === 'disk-full')) throw error;
        throw new SkerryError('disk-full', NO_ROOM_FOR_MEMORY, { cause: error });
      },
    );
  }

  /**
   * What runsc reads, until it is disposed of: in plain in memory where it is encrypted here.
   * @param key undefined for a server that has none
   * @throws SkerryError `internal` for another key than it was sealed with; the signal's reason
   */
  async openMemory(
    places: InstanceLayout,
    key: Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<PlainMemory> {
    const { sealedMemory } = partsOf(this.#directory);
    if (!existsSync(sealedMemory)) return { directory: this.memory, [Symbol.asyncDispose]: async () => {} };
    if (!key)
      throw new SkerryError('internal', 'The snapshot of the memory is encrypted, and there is no key.');
    await using undo = new AsyncDisposableStack();
    const plain = undo.use(await mountPlainMemory(places, (await stat(sealedMemory)).size));
    await openTree(sealedMemory, memoryKey(key), plain.directory, signal).catch((error: unknown) => {
      if (!(error instanceof SkerryError && error.code === 'invalid-argument')) throw error;
      const text =
        "The snapshot of the memory was encrypted with another key: restore the data directory's vault.key or SKERRY_VAULT_KEY.";
      throw new SkerryError('internal', text, { cause: error });
    });
    undo.move();
    return plain;
  }

  /** Keeps the files that are in no layer. */
  keepEtc(places: InstanceLayout): Promise<void> {
    return copyTree(places.etcDir, partsOf(this.#directory).etc, NO_ROOM_FOR_MEMORY);
  }

  /** Gives them to an instance that has none. */
  giveEtc(places: InstanceLayout): Promise<void> {
    return copyTree(
      partsOf(this.#directory).etc,
      places.etcDir,
      'The sandbox has no disk space to start in.',
    );
  }

  /** What made it. @throws SkerryError `not-found` when there is no such checkpoint */
  async build(): Promise<CheckpointBuild> {
    const text = await readFile(partsOf(this.#directory).build, 'utf8').catch(() => undefined);
    if (text === undefined) throw new SkerryError('not-found', 'The snapshot of the memory is gone.');
    return buildSchema.parse(JSON.parse(text));
  }

  /** @throws SkerryError `not-found` when there is no such checkpoint, `conflict` with both names when `build` cannot restore it */
  async requireBuild(build: CheckpointBuild): Promise<void> {
    const made = await this.build();
    if (canRestore(build, made)) return;
    throw new SkerryError(
      'conflict',
      `The snapshot was made by ${made.name} and can be restored by that alone; this server has ${build.name}.`,
    );
  }
}

/** Of one file, from the key of all. */
const memoryKey =
  (key: Uint8Array): KeyOf =>
  async (salt) =>
    new Uint8Array(hkdfSync('sha256', key, salt, 'skerry:memory', 32));

const canRestore = (build: CheckpointBuild, made: CheckpointBuild): boolean =>
  made.runsc === build.runsc && made.agent === build.agent;

/** Those of `checkpoints` that cannot be gone on from here, each with why. @param build undefined where there is no gVisor */
export async function unrestorable(
  checkpoints: readonly CheckpointRef[],
  content: ContentPlaces,
  build: CheckpointBuild | undefined,
): Promise<string[]> {
  const looked = checkpoints.map(async (ref) => {
    const made = await new CheckpointFiles(content.checkpoint(ref)).build().catch(() => undefined);
    if (build && made && canRestore(build, made)) return [];
    return [`${ref} was made by ${made?.name ?? 'nobody knows what'}`];
  });
  return (await Promise.all(looked)).flat();
}

/** Tells builds apart by what is in their programs: gVisor's that are made from source have no version of their own. */
export class CheckpointBuilds {
  readonly #agent: string;
  readonly #hashes = new Map<string, Promise<string>>();

  /** @param agent the program that instances are started with */
  constructor(agent: string) {
    this.#agent = agent;
  }

  /** SHA-256 of the agent that instances are started with now. */
  agent(): Promise<string> {
    return this.#hashOf(this.#agent);
  }

  /**
   * @param runsc a path, also of the program of a process
   * @param version as runsc calls itself
   */
  async of(runsc: string, version: string): Promise<CheckpointBuild> {
    const [program, agent] = await Promise.all([this.#hashOf(runsc), this.agent()]);
    const name = `${version} (build ${short(program)}, platform ${PLATFORM}, ${process.arch}) with agent ${short(agent)}`;
    return { name, runsc: program, agent };
  }

  /** Of a file that was read before only once: runsc has 100 MB. */
  async #hashOf(path: string): Promise<string> {
    const { dev, ino, size, mtimeMs } = await stat(path);
    const key = [dev, ino, size, mtimeMs].join(' ');
    const known = this.#hashes.get(key) ?? hashOf(path);
    this.#hashes.set(key, known);
    known.catch(() => this.#hashes.delete(key)); // the next one reads again
    return known;
  }
}

const short = (hash: string): string => hash.slice(0, 12);

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}
