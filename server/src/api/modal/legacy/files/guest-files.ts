/** Files of a sandbox, through the helper that the agent is under another name (docs/protocol/filesystem-tools.md). */
import { z } from 'zod';
import { SkerryError } from '../../../../errors/skerry-error.ts';
import { newProcessId } from '../../../../ids.ts';
import { GUEST_FS_TOOLS } from '../../../../sandboxes/guest-paths.ts';
import { sandboxEnded } from '../../../../sandboxes/result-text.ts';
import type { Process, Sandbox } from '../../../../sandboxes/sandboxes.ts';
import { SystemErrorCode } from '../../gen/modal/common_pb.ts';

/** What the operating system of the sandbox refused; the clients turn the code into Python's own exception. */
export class GuestFileError extends Error {
  override readonly name = 'GuestFileError';
  readonly code: SystemErrorCode;

  constructor(code: SystemErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** One operation on a file takes at most this long. */
const DEADLINE_MS = 10 * 60_000;
/** Of what the helper says about an error. */
const MAX_ERROR_BYTES = 16 * 1024;
const SIGTERM = 15;
const MAX_LIST_BYTES = 4 * 1024 * 1024;

const codes: Readonly<Record<string, SystemErrorCode>> = {
  NotFound: SystemErrorCode.NOENT,
  NotDirectory: SystemErrorCode.NOTDIR,
  PathAlreadyExists: SystemErrorCode.EXIST,
  AlreadyExists: SystemErrorCode.EXIST,
  IsDirectory: SystemErrorCode.ISDIR,
  PermissionDenied: SystemErrorCode.ACCES,
  FileTooLarge: SystemErrorCode.FBIG,
  // The clients have no exception for it; this one becomes an OSError.
  DirectoryNotEmpty: SystemErrorCode.INVAL,
  InvalidPath: SystemErrorCode.INVAL,
};

const failureSchema = z.object({ error_kind: z.string(), message: z.string() });
const entriesSchema = z.array(z.object({ name: z.string() }));
const entrySchema = z.object({ type: z.enum(['file', 'directory', 'symlink']) });

export interface WatchOptions {
  readonly recursive: boolean;
  /** Seconds; null waits for ever. */
  readonly timeoutSecs: number | null;
}

/** Paths are absolute. Every method throws GuestFileError, or SkerryError `sandbox-ended`, or the signal's reason. */
export class GuestFiles {
  readonly #sandbox: Sandbox;

  constructor(sandbox: Sandbox) {
    this.#sandbox = sandbox;
  }

  /** The bytes of a file, from its start to its end. */
  async *read(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
    const process = await this.#start({ ReadFile: { path } }, deadline);
    await using last = new AsyncDisposableStack();
    last.defer(async () => {
      if (!process.exit) await process.kill(9, 'group');
    });
    yield* process.stdout.read(0, deadline);
    await this.#finish(process, path, deadline);
  }

  /** Writes the file that a path leads to, when all of its content is there; makes it and missing parent directories. */
  async write(path: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
    const process = await this.#start({ WriteFile: { path, through: true } }, deadline);
    try {
      let offset = 0;
      for await (const chunk of content) {
        await process.writeStdin(offset, chunk, deadline);
        offset += chunk.length;
      }
      await process.closeStdin();
    } catch (error) {
      // The helper gave up early: its own words say why.
      if (!(error instanceof SkerryError) || error.code !== 'stdin-closed') {
        await process.kill(SIGTERM, 'group'); // it removes what it has so far
        throw error;
      }
    }
    await this.#finish(process, path, deadline);
  }

  /** What is there, or undefined. */
  async stat(path: string, signal: AbortSignal): Promise<'file' | 'directory' | 'symlink' | undefined> {
    try {
      return parse(entrySchema, await this.#output({ Stat: { path } }, path, signal)).type;
    } catch (error) {
      if (error instanceof GuestFileError && error.code === SystemErrorCode.NOENT) return undefined;
      throw error;
    }
  }

  /** Names in a directory, in order. */
  async list(path: string, signal: AbortSignal): Promise<readonly string[]> {
    const text = await this.#output({ ListFiles: { path } }, path, signal);
    return parse(entriesSchema, text).map(({ name }) => name);
  }

  async makeDirectory(path: string, parents: boolean, signal: AbortSignal): Promise<void> {
    await this.#output({ MakeDirectory: { path, parents } }, path, signal);
  }

  async remove(path: string, recursive: boolean, signal: AbortSignal): Promise<void> {
    await this.#output({ Remove: { path, recursive } }, path, signal);
  }

  /** A process that writes one JSON event a line until it is killed or its time is over. */
  watch(path: string, { recursive, timeoutSecs }: WatchOptions, signal: AbortSignal): Promise<Process> {
    const request = { Watch: { path, recursive, filter: null, timeout_secs: timeoutSecs } };
    return this.#start(request, signal, null);
  }

  /** Waits for the helper's end and throws what it has to say. */
  async #finish(process: Process, path: string, signal: AbortSignal): Promise<void> {
    const exit = await process.wait(signal);
    if (exit.kind === 'code' && exit.code === 0) return;
    if (this.#sandbox.result) throw sandboxEnded(this.#sandbox);
    throw failure(await collect(process.stderr.read(0, signal), MAX_ERROR_BYTES), path);
  }

  /** What a finished watch has to say about its failure, if it failed. */
  finish(process: Process, path: string, signal: AbortSignal): Promise<void> {
    return this.#finish(process, path, signal);
  }

  async #output(request: object, path: string, signal: AbortSignal): Promise<string> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
    const process = await this.#start(request, deadline);
    const text = await collect(process.stdout.read(0, deadline), MAX_LIST_BYTES);
    await this.#finish(process, path, deadline);
    return text;
  }

  #start(request: object, signal: AbortSignal, timeoutMs: number | null = DEADLINE_MS): Promise<Process> {
    return this.#sandbox.exec(
      newProcessId(),
      {
        argv: [GUEST_FS_TOOLS, JSON.stringify(request)],
        secretSources: [],
        workdir: undefined,
        timeoutMs: timeoutMs ?? undefined,
        pty: undefined,
        stdout: 'pipe',
        stderr: 'pipe',
      },
      signal,
    );
  }
}

async function collect(chunks: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > maxBytes) throw new GuestFileError(SystemErrorCode.FBIG, 'The answer is too long.');
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The helper runs beside untrusted code: what it prints is checked like any input. */
function parse<T>(schema: z.ZodType<T>, text: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    throw new GuestFileError(SystemErrorCode.IO, "The sandbox's file helper gave no sensible answer.");
  }
}

function failure(stderr: string, path: string): GuestFileError {
  const { error_kind: kind, message } = parse(failureSchema, stderr);
  // The clients have no code of their own for a full disk among the kinds; the words tell it.
  const full = message.startsWith('No space left');
  const code = full ? SystemErrorCode.NOSPC : (codes[kind] ?? SystemErrorCode.IO);
  return new GuestFileError(code, `${message}: '${path}'`);
}
