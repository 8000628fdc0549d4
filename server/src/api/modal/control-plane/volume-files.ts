/** Files of volumes, and the HTTP endpoint that their bytes go through. Facts: docs/protocol/volumes-blobs-secrets.md, sections 1 and 2. */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { VolumeId } from '../../../ids.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { LayeredVolumeFiles } from '../../../volumes/volume-files.ts';
import type { VolumeMounts } from '../../../volumes/volume-mounts.ts';
import { BLOCK_BYTES, type FileEntry, type FileRange } from '../../../volumes/volumes.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { FileEntry_FileType as FileType, type VolumePutFiles2Request_File } from '../gen/modal/volumes_pb.ts';
import { absoluteUrl, respond, type TransferRoute, type Transfers, transferRoute } from '../rpc/transfers.ts';
import { asVolumeId } from './volumes.ts';

export interface VolumeFileHandlerDeps {
  readonly volumeFiles: LayeredVolumeFiles;
  /** Whatever is asked of a volume is asked of what its sandboxes have written by then. */
  readonly volumeMounts: Pick<VolumeMounts, 'settle'>;
}

const URL_PREFIX = '/volumes/';
/** Begins the id of a part of a file that is read like a blob. */
const PART_PREFIX = 'vp-';
const DEFAULT_MODE = 0o644;
/** Entries of one message of a list. */
const ENTRIES_AT_ONCE = 1000;

const fileTypes = {
  file: FileType.FILE,
  directory: FileType.DIRECTORY,
  link: FileType.SYMLINK,
} as const;

export function volumeFileHandlers({
  volumeFiles: files,
  volumeMounts: mounts,
}: VolumeFileHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const urlOf = (ticket: string, context: HandlerContext) => absoluteUrl(URL_PREFIX + ticket, context);
  const settled = async (text: string): Promise<VolumeId> => {
    const id = asVolumeId(text);
    await mounts.settle(id);
    return id;
  };
  const list = async function* (request: ListRequest) {
    yield* batches(files, await settled(request.volumeId), request);
  };
  const remove = async ({ volumeId, path, recursive }: RemoveRequest) => {
    await files.remove(await settled(volumeId), path, recursive);
    return {};
  };
  const copy = async ({ volumeId, srcPaths, dstPath, recursive }: CopyRequest) => {
    await files.copy(await settled(volumeId), srcPaths, dstPath, { recursive });
    return {};
  };
  return {
    async volumeGetFile({ volumeId, path, start, len }) {
      const range = await files.range(await settled(volumeId), path, bounded(start), bounded(len));
      const { length } = range;
      const said = { size: BigInt(range.size), start: BigInt(range.start), len: BigInt(length) };
      if (length > BLOCK_BYTES) {
        const ticket = files.tickets.issue({ kind: 'get', place: range.place, start: range.start, length });
        return { ...said, dataOneof: { case: 'dataBlobId', value: PART_PREFIX + ticket } };
      }
      return { ...said, dataOneof: { case: 'data', value: await bytesOf(files, range) } };
    },
    volumeListFiles: list,
    volumeListFiles2: list,
    volumeRemoveFile: remove,
    volumeRemoveFile2: remove,
    volumeCopyFiles: copy,
    volumeCopyFiles2: copy,
    async volumeGetFile2({ volumeId, path, start, len }, context) {
      const range = await files.range(await settled(volumeId), path, bounded(start), bounded(len));
      const end = range.start + range.length;
      const urls: string[] = [];
      for (let at = range.start; at < end; ) {
        const next = Math.min(end, (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES);
        const part = { kind: 'get', place: range.place, start: at, length: next - at } as const;
        urls.push(urlOf(files.tickets.issue(part), context));
        at = next;
      }
      return {
        getUrls: urls,
        size: BigInt(range.size),
        start: BigInt(range.start),
        len: BigInt(range.length),
      };
    },
    async volumePutFiles({ volumeId, files: given, disallowOverwriteExistingFiles }) {
      const whole = given.map(({ filename, sha256Hex, mode }) => ({
        path: filename,
        sha256Hex,
        mode: mode ?? DEFAULT_MODE,
      }));
      await files.putWhole(await settled(volumeId), whole, { overwrite: !disallowOverwriteExistingFiles });
      return {};
    },
    async volumePutFiles2({ volumeId, files: given, disallowOverwriteExistingFiles }, context) {
      const missing = await files.putBlocks(await settled(volumeId), given.map(toBlockFile), {
        overwrite: !disallowOverwriteExistingFiles,
      });
      return {
        missingBlocks: missing.map(({ file, block, ticket }) => ({
          fileIndex: BigInt(file),
          blockIndex: BigInt(block),
          putUrl: urlOf(ticket, context),
        })),
      };
    },
  };
}

/** Where the bytes are of what `VolumeGetFile` gave an id instead. Undefined for the id of anything else; a made up one leads to nothing. */
export const urlOfPart = (blobId: string, context: HandlerContext): string | undefined =>
  blobId.startsWith(PART_PREFIX)
    ? absoluteUrl(URL_PREFIX + encodeURIComponent(blobId.slice(PART_PREFIX.length)), context)
    : undefined;

/** PUT of blocks and GET of parts of files. */
export function volumeRoute({
  volumeFiles: files,
  logger,
}: Pick<VolumeFileHandlerDeps, 'volumeFiles'> & { readonly logger: Logger }): TransferRoute {
  const ticketOf = (url: string) => files.tickets.open(url.slice(URL_PREFIX.length));
  const transfers = {
    async put({ url, request, response, signal }) {
      const ticket = ticketOf(url);
      if (ticket.kind !== 'put') throw otherDirection();
      respond(response, 200, await files.uploads.receive(ticket, request, signal));
    },
    async get({ url, response, signal }) {
      const ticket = ticketOf(url);
      if (ticket.kind !== 'get') throw otherDirection();
      const { start, length } = ticket;
      response.setHeader('content-type', 'application/octet-stream');
      response.setHeader('content-length', length);
      const part = createReadStream(files.hostPath(ticket.place), { start, end: start + length - 1 });
      await pipeline(part, response, { signal });
    },
  } satisfies Transfers;
  return transferRoute(URL_PREFIX, transfers, logger);
}

async function bytesOf(files: LayeredVolumeFiles, { place, start, length }: FileRange): Promise<Uint8Array> {
  await using handle = await open(files.hostPath(place), 'r');
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, start);
  if (bytesRead === length) return bytes;
  throw new SkerryError('internal', `A file of a volume ended after ${start + bytesRead} bytes.`);
}

const otherDirection = (): SkerryError =>
  new SkerryError('permission-denied', 'This URL is for a transfer the other way.');

interface ListRequest {
  readonly volumeId: string;
  readonly path: string;
  readonly maxEntries?: number | undefined;
  readonly recursive: boolean;
}

interface RemoveRequest {
  readonly volumeId: string;
  readonly path: string;
  readonly recursive: boolean;
}

interface CopyRequest {
  readonly volumeId: string;
  readonly srcPaths: readonly string[];
  readonly dstPath: string;
  readonly recursive: boolean;
}

async function* batches(files: LayeredVolumeFiles, id: VolumeId, request: ListRequest) {
  let entries: ReturnType<typeof toEntry>[] = [];
  let left = request.maxEntries ?? Number.POSITIVE_INFINITY;
  for await (const entry of files.list(id, request.path, request)) {
    if (left-- <= 0) break;
    if (entries.push(toEntry(entry)) < ENTRIES_AT_ONCE) continue;
    yield { entries };
    entries = [];
  }
  if (entries.length > 0) yield { entries };
}

const toEntry = ({ path, kind, mtimeMs, size }: FileEntry) => ({
  path,
  type: fileTypes[kind],
  mtime: BigInt(Math.max(0, Math.floor(mtimeMs / 1000))),
  size: BigInt(size),
});

const toBlockFile = ({ path, size, mode, blocks }: VolumePutFiles2Request_File) => ({
  path,
  size: bounded(size),
  mode: mode ?? DEFAULT_MODE,
  blocks: blocks.map(({ contentsSha256, putResponse }) => ({
    sha256Hex: Buffer.from(contentsSha256).toString('hex'),
    receipt: putResponse && Buffer.from(putResponse).toString('latin1'),
  })),
});

/** No file is larger than what a double holds exactly. */
function bounded(value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new SkerryError('invalid-argument', `${value} is more bytes than a file can have.`);
}
