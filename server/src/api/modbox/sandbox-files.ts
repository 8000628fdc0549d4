/** Files of a sandbox, through the helper inside it: its own root, its own links, never the host's. */
import { z } from 'zod';
import { type ErrorCode, SkerryError } from '../../errors/skerry-error.ts';
import { newProcessId } from '../../ids.ts';
import { GUEST_FS_TOOLS } from '../../sandboxes/guest-paths.ts';
import type { Process, Sandbox } from '../../sandboxes/sandboxes.ts';
import { abandon, rejectIfSandboxEnded, requireRunning } from './commands.ts';
import { followToExit, HeadBuffer } from './output.ts';

/** The helper's commands (`docs/protocol/filesystem-tools.md`): one JSON object as its only argument. */
type HelperRequest =
  | { readonly ReadFile: { readonly path: string } }
  | { readonly WriteFile: { readonly path: string; readonly through: true } }
  | { readonly ListFiles: { readonly path: string } }
  | { readonly Remove: { readonly path: string; readonly recursive: boolean } };

/** Largest directory listing, in bytes of the helper's JSON; some 40,000 entries. */
const MAX_LISTING_BYTES = 8 << 20;
const MAX_ERROR_BYTES = 64 << 10;
const SIGTERM = 15;
const STDIN_CHUNK_BYTES = 256 << 10;

// The helper runs beside untrusted code: what it says is checked like any message from outside.
const helperError = z.object({ error_kind: z.string().max(100), message: z.string().min(1) });
const helperEntry = z.object({
  name: z.string(),
  path: z.string(),
  type: z.enum(['file', 'directory', 'symlink']),
  size: z.int().min(0),
  permissions: z.string(),
  owner: z.string(),
  group: z.string(),
  modified_time: z.number(),
  symlink_target: z.string().nullish(),
});

export interface FileEntry {
  readonly name: string;
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly size: number;
  readonly permissions: string;
  readonly owner: string;
  readonly group: string;
  readonly modifiedAtMs: number;
  readonly symlinkTarget: string | undefined;
}

export class SandboxFiles {
  readonly #sandbox: Sandbox;
  readonly #maxFileBytes: number;

  constructor(sandbox: Sandbox, maxFileBytes: number) {
    this.#sandbox = sandbox;
    this.#maxFileBytes = maxFileBytes;
  }

  /**
   * A file's bytes as they come. The first piece has been read when this resolves, so what can go wrong at the start is thrown here.
   * @throws SkerryError `not-found`, `conflict` (a directory), `permission-denied`
   */
  async read(path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const process = await this.#start({ ReadFile: { path } }, signal);
    await process.closeStdin();
    const chunks = process.stdout.read(0, signal)[Symbol.asyncIterator]();
    const first = await chunks.next();
    if (first.done) await this.#succeed(process, path, signal);
    const finish = () => this.#succeed(process, path, signal);
    return (async function* () {
      await using last = new AsyncDisposableStack();
      last.defer(() => abandon(process));
      last.defer(async () => void (await chunks.return?.()));
      for (let piece = first; !piece.done; piece = await chunks.next()) yield piece.value;
      if (!first.done) await finish();
    })();
  }

  /**
   * Writes the file that the path leads to, which keeps its mode and owner; makes it and its missing parent directories. A body that breaks off leaves
   * what was there. Returns the size in bytes.
   * @throws SkerryError `too-large`, `conflict` (a directory), `permission-denied`
   */
  async write(path: string, body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
    const process = await this.#start({ WriteFile: { path, through: true } }, signal);
    let size = 0;
    try {
      for await (const piece of body) {
        if (size + piece.length > this.#maxFileBytes) {
          throw new SkerryError('too-large', `A file may have at most ${this.#maxFileBytes} bytes.`, {
            details: { path: 'body' },
          });
        }
        for (let at = 0; at < piece.length; at += STDIN_CHUNK_BYTES) {
          const chunk = piece.subarray(at, at + STDIN_CHUNK_BYTES);
          await process.writeStdin(size, chunk, signal);
          size += chunk.length;
        }
      }
      await process.closeStdin();
    } catch (error) {
      // The helper closes its input early to report an error; everything else means that the file must not be finished.
      if (!(error instanceof SkerryError) || error.code !== 'stdin-closed') {
        await abandon(process, SIGTERM); // it removes what it has so far
        throw error;
      }
    }
    await this.#succeed(process, path, signal);
    return size;
  }

  /** Direct children, by name. @throws SkerryError `not-found`, `conflict` (not a directory), `too-large` */
  async list(path: string, signal: AbortSignal): Promise<FileEntry[]> {
    const process = await this.#start({ ListFiles: { path } }, signal);
    await process.closeStdin();
    const json = new HeadBuffer(MAX_LISTING_BYTES);
    await this.#succeed(process, path, signal, json);
    if (json.truncated) {
      throw new SkerryError('too-large', `The listing of ${path} has more than ${MAX_LISTING_BYTES} bytes.`);
    }
    try {
      return z.array(helperEntry).parse(JSON.parse(json.text())).map(toFileEntry);
    } catch (error) {
      throw new SkerryError('unavailable', 'The file helper in the sandbox gave no usable answer.', {
        cause: error,
      });
    }
  }

  /** @throws SkerryError `not-found`, `conflict` (a directory with something in it, without `recursive`) */
  async remove(path: string, recursive: boolean, signal: AbortSignal): Promise<void> {
    const process = await this.#start({ Remove: { path, recursive } }, signal);
    await process.closeStdin();
    await this.#succeed(process, path, signal);
  }

  async #start(request: HelperRequest, signal: AbortSignal): Promise<Process> {
    await requireRunning(this.#sandbox, signal);
    return this.#sandbox.exec(
      newProcessId(),
      {
        argv: [GUEST_FS_TOOLS, JSON.stringify(request)],
        secretSources: [],
        // The helper's paths are absolute; the sandbox's own workdir may have been removed.
        workdir: '/',
        timeoutMs: undefined,
        pty: undefined,
        stdout: 'pipe',
        stderr: 'pipe',
      },
      signal,
    );
  }

  /** Waits for the helper's success; what it prints goes to `stdout`. @throws SkerryError for what it reported on stderr */
  async #succeed(process: Process, path: string, signal: AbortSignal, stdout?: HeadBuffer): Promise<void> {
    const output = { stdout, stderr: new HeadBuffer(MAX_ERROR_BYTES) };
    const exit = await followToExit(process, (name, chunk) => output[name]?.add(chunk) ?? false, signal);
    await rejectIfSandboxEnded(this.#sandbox, exit, signal);
    if (exit.kind === 'code' && exit.code === 0) return;
    throw helperFailure(output.stderr.text(), path);
  }
}

const toFileEntry = (entry: z.infer<typeof helperEntry>): FileEntry => ({
  name: entry.name,
  path: entry.path,
  type: entry.type,
  size: entry.size,
  permissions: entry.permissions,
  owner: entry.owner,
  group: entry.group,
  modifiedAtMs: Math.trunc(entry.modified_time * 1000),
  symlinkTarget: entry.symlink_target ?? undefined,
});

const codes: Readonly<Record<string, ErrorCode>> = {
  NotFound: 'not-found',
  PermissionDenied: 'permission-denied',
  FileTooLarge: 'too-large',
  NotDirectory: 'conflict',
  IsFile: 'conflict',
  IsDirectory: 'conflict',
  AlreadyExists: 'conflict',
  PathAlreadyExists: 'conflict',
  DirectoryNotEmpty: 'conflict',
};

function helperFailure(stderr: string, path: string): SkerryError {
  try {
    const { error_kind: kind, message } = helperError.parse(JSON.parse(stderr));
    const known = Object.hasOwn(codes, kind) ? codes[kind] : undefined;
    // Other kinds are the sandbox's own troubles (a full disk, a read-only file): the state of things, not a fault of ours.
    return new SkerryError(known ?? 'conflict', `${message.slice(0, 500)}: ${path}`, {
      details: { path: 'path' },
    });
  } catch {
    return new SkerryError('unavailable', 'The file helper in the sandbox failed without saying why.');
  }
}
