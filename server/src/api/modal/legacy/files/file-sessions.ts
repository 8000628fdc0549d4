/** The files that older clients have open, by sandbox, and the answers of operations until they are fetched. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SkerryError } from '../../../../errors/skerry-error.ts';
import { newFileDescriptor, newProcessId, type TaskId } from '../../../../ids.ts';
import { FileError } from '../../../../sandboxes/file-error.ts';
import type { Sandbox } from '../../../../sandboxes/sandboxes.ts';
import { MAX_FILE_BYTES, type OpenFile } from './open-file.ts';

/** As few as a program may be asked to make do with, and enough for one that closes what it opens. */
const MAX_OPEN_FILES = 64;
/** Bytes of all open files of a sandbox together. */
const MAX_SPOOL_BYTES = 2 * MAX_FILE_BYTES;
/** Operations of a sandbox whose answer was not fetched. */
const MAX_OPERATIONS = 256;

/** The answer of an operation as it is sent, in chunks; it can be asked for again until it was sent to its end. */
export interface Answer {
  chunks(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Lets go of what it holds. */
  dispose?(): void;
}

/** Started already; rejects with FileError or SkerryError. */
export interface Operation {
  readonly sandbox: Sandbox;
  readonly answer: Promise<Answer>;
}

interface Session {
  readonly sandbox: Sandbox;
  /** A file that is being opened holds its place as a promise; operations on one file run one after another. */
  readonly files: Map<string, { file: OpenFile | undefined; last: Promise<unknown> }>;
  readonly operations: Map<string, Operation>;
}

export class FileSessions {
  readonly #spoolDir: string;
  readonly #sessions = new Map<TaskId, Session>();

  /** @param spoolDir a directory of its own; emptied, since open files do not outlive the server */
  constructor(spoolDir: string) {
    this.#spoolDir = spoolDir;
    rmSync(spoolDir, { recursive: true, force: true });
    mkdirSync(spoolDir, { recursive: true, mode: 0o700 });
  }

  /** Registers an operation that is under way; its id is what the client asks for the answer with. */
  register(sandbox: Sandbox, answer: Promise<Answer>): string {
    answer.catch(() => {}); // reported when it is fetched
    const { operations } = this.#session(sandbox);
    for (const [id, operation] of operations) {
      if (operations.size < MAX_OPERATIONS) break;
      operations.delete(id);
      operation.answer.then(
        ({ dispose }) => dispose?.(),
        () => {},
      );
    }
    const id = `${sandbox.taskId}.${newProcessId()}`;
    operations.set(id, { sandbox, answer });
    return id;
  }

  /** @throws SkerryError `not-found` */
  operation(id: string): Operation {
    const session = this.#sessions.get(taskOf(id));
    const operation = session?.operations.get(id);
    if (!operation) throw new SkerryError('not-found', 'This file operation is not known (any more).');
    return operation;
  }

  /** Forgets an operation whose answer was sent to its end. */
  forget(id: string): void {
    this.#sessions.get(taskOf(id))?.operations.delete(id);
  }

  /** Opens a file under a new descriptor, which is known at once. `open` is given the path of its spool file. */
  open(
    sandbox: Sandbox,
    open: (spoolPath: string) => Promise<OpenFile>,
  ): { readonly descriptor: string; readonly opened: Promise<OpenFile> } {
    const { files } = this.#session(sandbox);
    const descriptor = newFileDescriptor();
    if (files.size >= MAX_OPEN_FILES) {
      const error = new FileError('too-many-open', `At most ${MAX_OPEN_FILES} files can be open at once`);
      return { descriptor, opened: Promise.reject(error) };
    }
    const opened = open(join(this.#spoolDir, descriptor)).then(
      async (file) => {
        entry.file = file;
        try {
          this.#checkSpool(sandbox.taskId, 0);
          return file;
        } catch (error) {
          files.delete(descriptor);
          await file.discard();
          throw error;
        }
      },
      (error: unknown) => {
        files.delete(descriptor);
        throw error;
      },
    );
    const entry: { file: OpenFile | undefined; last: Promise<unknown> } = { file: undefined, last: opened };
    files.set(descriptor, entry);
    return { descriptor, opened };
  }

  /**
   * Runs `work` on an open file after everything asked of it before. `adding` bytes at most are what it makes the file grow by; `closing` gives the
   * descriptor up, however it ends.
   * @throws SkerryError `not-found` at once for a descriptor that is not open
   */
  use<T>(
    sandbox: Sandbox,
    descriptor: string,
    work: (file: OpenFile) => Promise<T> | T,
    { adding = 0, closing = false } = {},
  ): Promise<T> {
    const { files } = this.#session(sandbox);
    const entry = files.get(descriptor);
    if (!entry) {
      throw new SkerryError(
        'not-found',
        'This file is not open: it was closed, its sandbox ended or Skerry was restarted. Open it again.',
      );
    }
    if (closing) files.delete(descriptor);
    const run = async (): Promise<T> => {
      if (!entry.file) throw new SkerryError('not-found', 'This file could not be opened.');
      if (adding > 0) this.#checkSpool(sandbox.taskId, adding);
      return await work(entry.file);
    };
    const result = entry.last.then(run, run);
    entry.last = result.catch(() => {});
    return result;
  }

  #session(sandbox: Sandbox): Session {
    let session = this.#sessions.get(sandbox.taskId);
    if (!session) {
      this.#forgetEnded();
      session = { sandbox, files: new Map(), operations: new Map() };
      this.#sessions.set(sandbox.taskId, session);
    }
    return session;
  }

  #checkSpool(taskId: TaskId, adding: number): void {
    let total = adding;
    for (const { file } of this.#sessions.get(taskId)?.files.values() ?? []) total += file?.size ?? 0;
    if (total > MAX_SPOOL_BYTES) {
      throw new FileError('too-large', `The open files have more than ${MAX_SPOOL_BYTES} bytes`);
    }
  }

  /** Files of ended sandboxes have nowhere to be written back to. */
  #forgetEnded(): void {
    for (const [taskId, { sandbox, files }] of this.#sessions) {
      if (!sandbox.result) continue;
      this.#sessions.delete(taskId);
      for (const entry of files.values()) {
        entry.last = entry.last.then(
          () => entry.file?.discard(),
          () => entry.file?.discard(),
        );
        entry.last.catch(() => {}); // the spool directory is emptied at the next start
      }
    }
  }
}

/** The task an operation's id begins with; looking up what is none finds nothing. */
const taskOf = (id: string): TaskId => id.slice(0, Math.max(id.indexOf('.'), 0)) as TaskId;
