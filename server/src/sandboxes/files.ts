/**
 * Files of a sandbox, through the helper that the agent is under another name (docs/protocol/filesystem-tools.md): its own root, its own links, never the
 * host's. Every API that has files has them from here.
 */
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import { newProcessId } from '../ids.ts';
import { FileError, faultOf } from './file-error.ts';
import { GUEST_FS_TOOLS } from './guest-paths.ts';
import { sandboxEnded } from './sandbox-errors.ts';
import type { Process, Sandbox } from './sandboxes.ts';
import type { ProcessExit } from './state.ts';

/** Largest directory listing, in bytes of the helper's JSON; some 40,000 entries. */
const MAX_LISTING_BYTES = 8 << 20;
/** Of what the helper says about an error. */
const MAX_ERROR_BYTES = 16 << 10;
/** One piece of input. */
const CHUNK_BYTES = 256 << 10;
/** How long after its processes a sandbox's result may come. */
const RESULT_PATIENCE_MS = 5000;
const SIGKILL = 9;
const SIGTERM = 15;

const kinds = z.enum(['file', 'directory', 'symlink']);
// The helper runs beside untrusted code: what it says is checked like any message from outside.
const failureSchema = z.object({ error_kind: z.string().max(100), message: z.string().min(1) });
const entrySchema = z.object({
  name: z.string(),
  path: z.string(),
  type: kinds,
  size: z.int().min(0),
  permissions: z.string(),
  owner: z.string(),
  group: z.string(),
  modified_time: z.number(),
  symlink_target: z.string().nullish(),
});
const statSchema = z.object({ type: kinds });

export type FileKind = z.infer<typeof kinds>;

export interface FileEntry {
  readonly name: string;
  readonly path: string;
  readonly type: FileKind;
  readonly size: number;
  /** Four octal digits. */
  readonly permissions: string;
  readonly owner: string;
  readonly group: string;
  readonly modifiedAtMs: number;
  readonly symlinkTarget: string | undefined;
}

export interface WatchOptions {
  readonly recursive: boolean;
  /** Seconds; null waits for ever. */
  readonly timeoutSecs: number | null;
}

export interface SandboxFilesOptions {
  /** Then an operation is given up, whoever waits for it; undefined where the caller's own signal is enough. A watch has its own time. */
  readonly timeoutMs?: number;
}

/** Paths are absolute. Every method throws FileError for what the helper reports, SkerryError as `Sandbox.exec`, or the signal's reason. */
export class SandboxFiles {
  readonly #sandbox: Sandbox;
  readonly #timeoutMs: number | undefined;

  constructor(sandbox: Sandbox, { timeoutMs }: SandboxFilesOptions = {}) {
    this.#sandbox = sandbox;
    this.#timeoutMs = timeoutMs;
  }

  /** The bytes of a file, from its start to its end, as they come; none of one with more than `maxBytes`. Whoever leaves early ends the reading. */
  async *read(path: string, signal: AbortSignal, maxBytes?: number): AsyncGenerator<Uint8Array> {
    const limit = this.#limit(signal);
    const process = await this.#start({ ReadFile: { path, max_bytes: maxBytes } }, limit);
    await using last = new AsyncDisposableStack();
    last.defer(() => abandon(process, SIGKILL));
    yield* process.stdout.read(0, limit);
    await this.finish(process, path, limit);
  }

  /**
   * Writes the file that the path leads to, which keeps its mode and owner; makes it and its missing parent directories. Nothing shows before all of it is
   * there: content that breaks off leaves what was there. Returns the size in bytes.
   */
  async write(path: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
    const limit = this.#limit(signal);
    const process = await this.#start({ WriteFile: { path, through: true } }, limit);
    let size = 0;
    try {
      for await (const piece of content) {
        for (let at = 0; at < piece.length; at += CHUNK_BYTES) {
          const chunk = piece.subarray(at, at + CHUNK_BYTES);
          await process.writeStdin(size, chunk, limit);
          size += chunk.length;
        }
      }
      await process.closeStdin(limit);
    } catch (error) {
      // The helper closes its input early to report an error; everything else means that the file must not be finished.
      if (!(error instanceof SkerryError) || error.code !== 'stdin-closed') {
        await abandon(process, SIGTERM); // it removes what it has so far
        throw error;
      }
    }
    await this.finish(process, path, limit);
    return size;
  }

  /** What is there, a link itself and not what it leads to; undefined when nothing is. */
  async stat(path: string, signal: AbortSignal): Promise<FileKind | undefined> {
    try {
      return parse(statSchema, await this.#output({ Stat: { path } }, path, signal)).type;
    } catch (error) {
      if (error instanceof FileError && error.fault === 'not-found') return undefined;
      throw error;
    }
  }

  /** What is directly in a directory, by name. */
  async list(path: string, signal: AbortSignal): Promise<readonly FileEntry[]> {
    const text = await this.#output({ ListFiles: { path } }, path, signal);
    return parse(z.array(entrySchema), text).map(toFileEntry);
  }

  async makeDirectory(path: string, parents: boolean, signal: AbortSignal): Promise<void> {
    await this.#output({ MakeDirectory: { path, parents } }, path, signal);
  }

  /** A file, a link itself, or a directory: with something in it only when `recursive`. */
  async remove(path: string, recursive: boolean, signal: AbortSignal): Promise<void> {
    await this.#output({ Remove: { path, recursive } }, path, signal);
  }

  /** A process that writes one JSON event a line until it is killed or its time is over; then `finish` says whether it failed. */
  watch(path: string, { recursive, timeoutSecs }: WatchOptions, signal: AbortSignal): Promise<Process> {
    return this.#start(
      { Watch: { path, recursive, filter: null, timeout_secs: timeoutSecs } },
      signal,
      false,
    );
  }

  /** Waits for the helper's end. @throws what it has to say about its failure; SkerryError `sandbox-ended` */
  async finish(process: Process, path: string, signal: AbortSignal): Promise<void> {
    const exit = await process.wait(signal);
    if (exit.kind === 'code' && exit.code === 0) return;
    if (await this.#ended(exit, signal)) throw sandboxEnded(this.#sandbox);
    const { error_kind: kind, message } = parse(
      failureSchema,
      await collect(process.stderr.read(0, signal), MAX_ERROR_BYTES),
    );
    throw new FileError(faultOf(kind, message), `${message.slice(0, 500)}: '${path}'`);
  }

  /** Whether the helper was killed because the sandbox ended, whose result may come a moment later. */
  async #ended(exit: ProcessExit, signal: AbortSignal): Promise<boolean> {
    const killed = exit.kind === 'signal' && exit.signal === SIGKILL && !exit.timedOut;
    if (killed && this.#sandbox.state !== 'running') await this.#sandbox.wait(RESULT_PATIENCE_MS, signal);
    return this.#sandbox.result !== undefined;
  }

  async #output(request: object, path: string, signal: AbortSignal): Promise<string> {
    const limit = this.#limit(signal);
    const process = await this.#start(request, limit);
    await using last = new AsyncDisposableStack();
    last.defer(() => abandon(process, SIGKILL));
    const text = await collect(process.stdout.read(0, limit), MAX_LISTING_BYTES);
    await this.finish(process, path, limit);
    return text;
  }

  #limit(signal: AbortSignal): AbortSignal {
    if (this.#timeoutMs === undefined) return signal;
    return AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]);
  }

  #start(request: object, signal: AbortSignal, timed = true): Promise<Process> {
    return this.#sandbox.exec(
      newProcessId(),
      {
        argv: [GUEST_FS_TOOLS, JSON.stringify(request)],
        secretSources: [],
        // The helper's paths are absolute; the sandbox's own workdir may have been removed.
        workdir: '/',
        timeoutMs: timed ? this.#timeoutMs : undefined,
        pty: undefined,
        stdout: 'pipe',
        stderr: 'pipe',
      },
      signal,
    );
  }
}

async function abandon(process: Process, signal: number): Promise<void> {
  if (process.exit === undefined) await process.kill(signal, 'group');
}

async function collect(chunks: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > maxBytes) throw new FileError('too-large', `The answer has more than ${maxBytes} bytes.`);
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parse<T>(schema: z.ZodType<T>, text: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    throw new FileError('no-answer', "The sandbox's file helper gave no sensible answer.");
  }
}

const toFileEntry = ({
  modified_time: modifiedSecs,
  symlink_target: target,
  ...entry
}: z.infer<typeof entrySchema>): FileEntry => ({
  ...entry,
  modifiedAtMs: Math.trunc(modifiedSecs * 1000),
  symlinkTarget: target ?? undefined,
});
