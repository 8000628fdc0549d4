/**
 * A file that an older client has open. Its content is copied to a spool file of the server when it is opened, read and changed there, and written back
 * whole on flush and close, as Python's buffered files do: until then nothing of a write shows in the sandbox.
 */
import { type FileHandle, open, rm } from 'node:fs/promises';
import type { MachineRoom, TakenRoom } from '../../../../platform/machine-room.ts';
import { FileError } from '../../../../sandboxes/file-error.ts';
import type { SandboxFiles } from '../../../../sandboxes/files.ts';
import type { FileMode } from './file-mode.ts';

/** Bytes of one open file. */
export const MAX_FILE_BYTES = 1024 ** 3;
const COPY_BYTES = 256 * 1024;

/** Bytes `start` to `end` (exclusive) of a spool file. */
export interface FileRange {
  readonly start: number;
  readonly end: number;
}

export type Whence = 'start' | 'current' | 'end';

export interface OpenFileParts {
  readonly files: SandboxFiles;
  readonly path: string;
  readonly mode: FileMode;
  /** A file of its own, which must not exist; removed on close. */
  readonly spoolPath: string;
  /** What it may fill of the server's disk. */
  readonly room: MachineRoom;
}

export class OpenFile {
  readonly #files: SandboxFiles;
  readonly #path: string;
  readonly #mode: FileMode;
  readonly #spoolPath: string;
  readonly #room: MachineRoom;
  #spool: FileHandle;
  #size = 0;
  #position = 0;
  #changed = false;

  private constructor({ files, path, mode, spoolPath, room }: OpenFileParts, spool: FileHandle) {
    this.#room = room;
    this.#files = files;
    this.#path = path;
    this.#mode = mode;
    this.#spoolPath = spoolPath;
    this.#spool = spool;
  }

  /** @throws FileError; SkerryError `disk-full` */
  static async open(parts: OpenFileParts, signal: AbortSignal): Promise<OpenFile> {
    const file = new OpenFile(parts, await open(parts.spoolPath, 'wx+', 0o600));
    await using undo = new AsyncDisposableStack();
    undo.defer(() => file.discard());
    await file.#begin(signal);
    undo.move(); // keeps it
    return file;
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  /** Where the next `length` bytes (all that are left without one) are; moves past them. */
  read(length: number | undefined): FileRange {
    this.#check('readable');
    const start = Math.min(this.#position, this.#size);
    const end = length === undefined ? this.#size : Math.min(start + length, this.#size);
    this.#position = Math.max(this.#position, end);
    return { start, end };
  }

  /** Up to and with the next newline. */
  async readLine(): Promise<FileRange> {
    this.#check('readable');
    const start = Math.min(this.#position, this.#size);
    let end = start;
    for await (const chunk of this.content({ start, end: this.#size })) {
      const newline = chunk.indexOf(0x0a);
      end += newline < 0 ? chunk.length : newline + 1;
      if (newline >= 0) break;
    }
    this.#position = Math.max(this.#position, end);
    return { start, end };
  }

  async write(data: Uint8Array): Promise<void> {
    this.#check('writable');
    const start = this.#mode.kind === 'append' ? this.#size : this.#position;
    checkSize(start + data.length, this.#path);
    using _room = await this.#take(data.length);
    await writeAll(this.#spool, data, start);
    this.#position = start + data.length;
    this.#size = Math.max(this.#size, this.#position);
    this.#changed = true;
  }

  seek(offset: number, whence: Whence): void {
    const base = { start: 0, current: this.#position, end: this.#size }[whence];
    const position = base + offset;
    if (position < 0) throw invalidOperation(`Cannot seek before the start of '${this.#path}'`);
    checkSize(position, this.#path);
    this.#position = position;
  }

  /** Puts `data` in place of the bytes from `start` (default: the beginning) to `end` (exclusive; default: the end). */
  async splice(start: number | undefined, end: number | undefined, data: Uint8Array): Promise<void> {
    this.#check('writable');
    const from = start ?? 0;
    const to = Math.min(end ?? this.#size, this.#size);
    if (from > to) throw invalidOperation('The start of the range must be before its end and in the file');
    const size = from + data.length + (this.#size - to);
    checkSize(size, this.#path);
    using room = await this.#take(size);
    const temporary = `${this.#spoolPath}.new`;
    const next = await open(temporary, 'wx+', 0o600);
    // The open handle is all that is needed; without a name nothing can be left behind.
    await rm(temporary);
    try {
      let at = 0;
      const append = async (chunk: Uint8Array) => {
        await writeAll(next, chunk, at);
        room.wrote(chunk.length);
        at += chunk.length;
      };
      for await (const chunk of this.content({ start: 0, end: from })) await append(chunk);
      await append(data);
      for await (const chunk of this.content({ start: to, end: this.#size })) await append(chunk);
    } catch (error) {
      await next.close();
      throw error;
    }
    await this.#spool.close();
    this.#spool = next;
    this.#size = size;
    this.#position = Math.min(this.#position, size);
    this.#changed = true;
  }

  async flush(signal: AbortSignal): Promise<void> {
    if (!this.#changed) return;
    await this.#files.write(this.#path, this.content({ start: 0, end: this.#size }), signal);
    this.#changed = false;
  }

  /** Writes back and lets go of the spool file, of that also when writing back fails. */
  async close(signal: AbortSignal): Promise<void> {
    await using last = new AsyncDisposableStack();
    last.defer(() => this.discard());
    await this.flush(signal);
  }

  /** Lets go without writing back. */
  async discard(): Promise<void> {
    await this.#spool.close();
    await rm(this.#spoolPath, { force: true });
  }

  /** The bytes of a range in chunks. */
  async *content({ start, end }: FileRange): AsyncGenerator<Uint8Array> {
    for (let at = start; at < end; ) {
      const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, end - at));
      const { bytesRead } = await this.#spool.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  async #begin(signal: AbortSignal): Promise<void> {
    switch (this.#mode.kind) {
      case 'existing':
        return this.#load(signal);
      case 'append':
        if ((await this.#files.stat(this.#path, signal)) === undefined) await this.#make(signal);
        else await this.#load(signal);
        this.#position = this.#size;
        return;
      case 'exclusive':
        if ((await this.#files.stat(this.#path, signal)) !== undefined) {
          throw new FileError('exists', `File exists: '${this.#path}'`);
        }
        return this.#make(signal);
      case 'truncate':
        return this.#make(signal);
      default:
        return this.#mode.kind satisfies never;
    }
  }

  async #load(signal: AbortSignal): Promise<void> {
    for await (const chunk of this.#files.read(this.#path, signal, MAX_FILE_BYTES)) {
      checkSize(this.#size + chunk.length, this.#path);
      using _room = await this.#take(chunk.length);
      await writeAll(this.#spool, chunk, this.#size);
      this.#size += chunk.length;
    }
  }

  /** Makes the file, empty, with its parent directories: programs written for Modal count on that. */
  async #make(signal: AbortSignal): Promise<void> {
    await this.#files.write(this.#path, this.content({ start: 0, end: 0 }), signal);
  }

  #take(bytes: number): Promise<TakenRoom> {
    return this.#room.take({ bytes, what: 'a file that is open' });
  }

  #check(ability: 'readable' | 'writable'): void {
    if (!this.#mode[ability]) throw invalidOperation(`'${this.#path}' is not open as ${ability}`);
  }
}

async function writeAll(file: FileHandle, data: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await file.write(data, done, data.length - done, position + done);
    done += bytesWritten;
  }
}

function checkSize(size: number, path: string): void {
  if (size > MAX_FILE_BYTES) throw new FileError('too-large', `File too large: '${path}'`);
}

const invalidOperation = (message: string): FileError => new FileError('invalid', message);
