/** What volumes hold. A change is made as a layer over those there are, one change of a volume after the other. */
import { constants } from 'node:fs';
import { chmod, copyFile, open, rename, rm, stat } from 'node:fs/promises';
import type { BlobStore } from '../blobs/blobs.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { VolumeId, VolumeLayerId } from '../ids.ts';
import { raw, toBytes } from '../platform/byte-paths.ts';
import { MachineRoom, type TakenRoom } from '../platform/machine-room.ts';
import { OnePerKey } from '../platform/one-per-key.ts';
import type { Logger } from '../telemetry/logger.ts';
import { BlockUploads } from './block-uploads.ts';
import { copyWithin } from './copy-within.ts';
import { LayerFiles } from './layer-files.ts';
import { LayerTree, type Node } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';
import { mergeLayers } from './merge-layers.ts';
import { checkFree, nameFiles } from './named-files.ts';
import { parseVolumePath, showVolumePath, type VolumePath } from './paths.ts';
import type { BlockRepository, VolumeRepository, VolumeVersion } from './repositories.ts';
import { TransferTickets } from './transfer-tickets.ts';
import { noSuchFile, noSuchVolume, tooManyBytes, tooManyFiles } from './volume-errors.ts';
import {
  type BlockFile,
  type FileEntry,
  type FileRange,
  MAX_VOLUME_FILES,
  type MissingBlock,
  type PutOptions,
  type VolumeFiles,
  type WholeFile,
} from './volumes.ts';

/** With more layers than this a volume's are merged into one: reading looks into each. */
const MAX_LAYERS = 32;
/** Nor may files that were written over take more room than this, or than what the volume holds. */
const MAX_DEAD_BYTES = 2 ** 30;
const PERMISSION_BITS = 0o7777;
/** As the errors call it. */
const UPLOAD = 'an upload';

export interface VolumeFilesOptions {
  /** Of their own. */
  readonly directory: string;
  readonly volumes: VolumeRepository;
  readonly blocks: BlockRepository;
  readonly blobs: Pick<BlobStore, 'path'>;
  /** Bytes that one volume may hold. */
  readonly maxBytes: number;
  /** What uploads and copies may fill of the disk; of their own by default. */
  readonly room?: MachineRoom;
  /** Signs what opens the way for a transfer; must be the same after a restart. */
  readonly ticketKey: Uint8Array;
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export class LayeredVolumeFiles implements VolumeFiles {
  readonly #options: VolumeFilesOptions;
  readonly #layers: LayerFiles;
  readonly #changes = new OnePerKey<VolumeId>();
  /** Bytes of the layers that each got since its layers were merged, or since the server started. */
  readonly #unmerged = new Map<VolumeId, number>();
  readonly #room: MachineRoom;
  readonly uploads: BlockUploads;
  readonly tickets: TransferTickets;

  constructor(options: VolumeFilesOptions) {
    this.#options = options;
    this.#layers = new LayerFiles(options.directory, options.logger, options.now);
    this.#room = options.room ?? new MachineRoom(options.directory);
    this.uploads = new BlockUploads({
      directory: options.directory,
      layerRoot: (id) => this.#layers.root(id),
      blocks: options.blocks,
      room: this.#room,
      now: options.now,
    });
    this.tickets = new TransferTickets(options.ticketKey, options.now);
  }

  async *list(
    id: VolumeId,
    path: string,
    { recursive }: { readonly recursive: boolean },
  ): AsyncGenerator<FileEntry> {
    const names = parseVolumePath(path);
    const tree = this.#tree(this.version(id));
    const node = await tree.lookup(names);
    if (!node) {
      if (names.length > 0) throw noSuchFile(names);
      return; // an empty volume
    }
    if (node.kind !== 'directory') return yield toEntry(names, node);
    if (recursive) {
      for await (const { path: below, node: found } of tree.walk(node, names)) yield toEntry(below, found);
    } else {
      for (const [name, found] of await tree.children(node)) yield toEntry([...names, name], found);
    }
  }

  async range(id: VolumeId, path: string, start: number, length: number): Promise<FileRange> {
    const names = parseVolumePath(path);
    const node = await this.#tree(this.version(id)).lookup(names);
    if (!node) throw noSuchFile(names);
    if (node.kind !== 'file')
      throw new SkerryError('invalid-argument', `'${showVolumePath(names)}' is not a file.`);
    const { size } = node.stats;
    if (start > size)
      throw new SkerryError('invalid-argument', `'${showVolumePath(names)}' has only ${size} bytes.`);
    const whole = size - start;
    const place = node.host.slice(toBytes(this.#options.directory).length + 1);
    return { size, start, length: length === 0 ? whole : Math.min(length, whole), place };
  }

  async remove(id: VolumeId, path: string, recursive: boolean): Promise<void> {
    const names = parseVolumePath(path);
    await this.change(id, async ({ tree }) => {
      const node = await tree.lookup(names);
      if (!node && names.length > 0) throw noSuchFile(names);
      const children = node?.kind === 'directory' ? await tree.children(node) : [];
      if (!recursive && (children.length > 0 || names.length === 0)) {
        const what = names.length === 0 ? 'The root' : `'${showVolumePath(names)}'`;
        throw new SkerryError('conflict', `${what} is a directory: ask for recursive removal.`);
      }
      return async (writer) => {
        if (names.length > 0 && node) await writer.remove(names, node);
        else for (const [name, child] of children) await writer.remove([name], child);
      };
    });
  }

  async copy(
    id: VolumeId,
    sources: readonly string[],
    destination: string,
    options: { readonly recursive: boolean },
  ): Promise<void> {
    await this.change(
      id,
      async () => (writer) => copyWithin(writer, this.#room, sources, destination, options),
    );
  }

  async putWhole(id: VolumeId, files: readonly WholeFile[], { overwrite }: PutOptions): Promise<void> {
    const named = nameFiles(files);
    const bytes = await this.#bytesOf(files);
    if (bytes > this.#options.maxBytes) throw tooManyBytes(this.#options.maxBytes);
    using room = await this.#room.take({ bytes, files: files.length, what: UPLOAD });
    await this.change(id, async ({ tree }) => {
      await checkFree(tree, named.keys(), overwrite);
      return async (writer) => {
        for (const [, { names, file }] of named) {
          await writer.putFile(names, async (host) => {
            const from = this.#options.blobs.path(file.sha256Hex);
            await copyFile(from, raw(host), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
            room.wrote((await stat(from)).size);
            await chmod(raw(host), file.mode & PERMISSION_BITS);
          });
        }
      };
    });
  }

  async putStream(
    id: VolumeId,
    path: string,
    mode: number,
    content: AsyncIterable<Uint8Array>,
    { overwrite }: PutOptions,
  ): Promise<number> {
    const [named] = nameFiles([{ path }]).values();
    if (!named) throw new SkerryError('internal', 'unreachable: one file was named');
    const { names } = named;
    await checkFree(this.#tree(this.version(id)), [names.join('/')], overwrite); // before all of it is sent
    const received = this.#layers.temporaryFile();
    await using undo = new AsyncDisposableStack();
    undo.defer(() => rm(received, { force: true })); // not there any more once it has its place
    const size = await this.#receive(received, mode & PERMISSION_BITS, content);
    await this.change(id, async ({ tree }) => {
      await checkFree(tree, [names.join('/')], overwrite);
      return (writer) => writer.putFile(names, (host) => rename(received, raw(host)));
    });
    return size;
  }

  /** @returns its bytes */
  async #receive(path: string, mode: number, content: AsyncIterable<Uint8Array>): Promise<number> {
    const { maxBytes } = this.#options;
    await this.#room.require({ bytes: 0, files: 1, what: UPLOAD });
    await using file = await open(path, 'wx', 0o600);
    let size = 0;
    for await (const piece of content) {
      size += piece.length;
      if (size > maxBytes) throw tooManyBytes(maxBytes);
      using room = await this.#room.take({ bytes: piece.length, what: UPLOAD });
      await file.writeFile(piece);
      room.wrote(piece.length);
    }
    await file.chmod(mode);
    return size;
  }

  async putBlocks(
    id: VolumeId,
    files: readonly BlockFile[],
    { overwrite }: PutOptions,
  ): Promise<readonly MissingBlock[]> {
    const named = nameFiles(files);
    const version = this.version(id);
    const replaced = await checkFree(this.#tree(version), named.keys(), overwrite);
    const total = files.reduce((sum, { size }) => sum + size, 0);
    const { maxBytes } = this.#options;
    // Before anything is sent; what others put there meanwhile is found at the end.
    if (version.bytes - replaced + total > maxBytes) throw tooManyBytes(maxBytes);
    const { upload, missing } = await this.uploads.stage(files);
    if (missing.length > 0) {
      return missing.map((block) => ({
        file: block.file,
        block: block.block,
        ticket: this.tickets.issue({ kind: 'put', ...block }),
      }));
    }
    let placed: VolumeLayerId | undefined;
    await this.change(id, async ({ tree }) => {
      await checkFree(tree, named.keys(), overwrite);
      return async (writer, layer) => {
        placed = layer;
        for (const [, { names, file, index }] of named) {
          await writer.putFile(names, async (host) => {
            await this.uploads.place(upload, index, host);
            await chmod(raw(host), file.mode & PERMISSION_BITS);
          });
        }
      };
    });
    const paths = new Map([...named.values()].map(({ names, index }) => [String(index), names.join('/')]));
    if (placed) await this.uploads.finish(upload, placed, paths);
    return [];
  }

  /** Where a range's bytes are on the host. */
  hostPath(place: string): Buffer {
    return raw(`${toBytes(this.#options.directory)}/${place}`);
  }

  /** Removes what nobody needs any more; called on a timer with the time in Unix milliseconds. */
  async sweep(nowMs: number): Promise<void> {
    await this.uploads.sweep(nowMs);
    for (const id of this.#unmerged.keys()) if (!this.#options.volumes.version(id)) this.#unmerged.delete(id);
    const removed = await this.#layers.collect(this.#options.volumes.usedLayers(), nowMs);
    for (const id of removed) this.#options.blocks.forgetHolder(id);
  }

  /** What the volume holds now. @throws SkerryError `not-found` */
  version(id: VolumeId): VolumeVersion {
    const version = this.#options.volumes.version(id);
    if (!version) throw noSuchVolume(id);
    return version;
  }

  /**
   * Room for what sandboxes wrote, besides what it takes where they wrote it.
   * @throws SkerryError `disk-full` when the rest is the server's
   */
  takeVersionRoom(bytes: number): Promise<TakenRoom> {
    return this.#room.take({ bytes, what: 'a version of the volume' });
  }

  /** Room for a copy of what others wrote, in a sandbox. @throws SkerryError `disk-full` */
  takeRoom(bytes: number): Promise<TakenRoom> {
    return this.#room.take({ bytes, what: 'what others wrote in the volume' });
  }

  /** Where layers are on the host, byte strings. */
  roots(layers: readonly VolumeLayerId[]): readonly string[] {
    return layers.map((layer) => this.#layers.root(layer));
  }

  /** Of the contents of files that are put whole. @throws SkerryError `not-found` */
  async #bytesOf(files: readonly WholeFile[]): Promise<number> {
    let bytes = 0;
    for (const { sha256Hex } of files) bytes += (await stat(this.#options.blobs.path(sha256Hex))).size;
    return bytes;
  }

  #tree({ layers }: VolumeVersion): LayerTree {
    return new LayerTree(this.roots(layers));
  }

  /** Makes the next version. @param plan looks at the present one and says what to write, or throws and changes nothing @throws SkerryError `not-found`, `volume-full` */
  async change(
    id: VolumeId,
    plan: (now: {
      readonly tree: LayerTree;
    }) => Promise<(writer: LayerWriter, layer: VolumeLayerId) => Promise<void>>,
  ): Promise<void> {
    await this.#changes.run(id, async () => {
      const version = this.version(id);
      const write = await plan({ tree: this.#tree(version) });
      const made = await this.#layers.make(version.layers, async (writer, layer) => {
        await write(writer, layer);
        const { bytes, files } = writer.growth;
        const grown = { bytes: version.bytes + bytes, files: version.files + files };
        if (grown.bytes > this.#options.maxBytes && bytes > 0) throw tooManyBytes(this.#options.maxBytes);
        if (grown.files > MAX_VOLUME_FILES && files > 0) throw tooManyFiles();
      });
      if (!made) return;
      const next: VolumeVersion = {
        number: version.number + 1,
        layers: [...version.layers, made.id],
        bytes: version.bytes + made.growth.bytes,
        files: version.files + made.growth.files,
      };
      this.#options.volumes.setVersion(id, next);
      const unmerged = (this.#unmerged.get(id) ?? 0) + made.bytes;
      this.#unmerged.set(id, unmerged);
      const crowded = unmerged > next.bytes + Math.max(next.bytes, MAX_DEAD_BYTES);
      if (next.layers.length > MAX_LAYERS || crowded) await this.#merge(id, next);
    });
  }

  async #merge(id: VolumeId, version: VolumeVersion): Promise<void> {
    const { layers } = version;
    const merged = await this.#layers.make([], (writer) => mergeLayers(this.#tree(version), writer));
    this.#options.volumes.setVersion(id, { ...version, layers: merged ? [merged.id] : [] });
    this.#unmerged.delete(id);
    if (merged) this.#options.blocks.merge(layers, merged.id);
    this.#layers.retire(layers);
  }
}

const toEntry = (path: VolumePath, { kind, stats }: Node): FileEntry => ({
  path: showVolumePath(path),
  kind,
  mtimeMs: stats.mtimeMs,
  size: kind === 'directory' ? 0 : stats.size,
});
