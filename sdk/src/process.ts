/** One program in a sandbox. */
import { CommandError } from './command-error.ts';
import { ConnectionError, errorOfStream, NotReadyError, unreachable } from './core/errors.ts';
import type { HttpClient } from './core/http.ts';
import { linesOf } from './core/lines.ts';
import { delay } from './core/wait.ts';
import { concat, readFrames } from './frames.ts';
import type { KillRequest, ProcessExit, StdinTaken, TerminalSize } from './gen/types.ts';

/** The name of a signal that a program can be sent. */
export type Signal = NonNullable<KillRequest['signal']>;

/** What every call takes. */
export interface Options {
  /** Ends the call. */
  readonly signal?: AbortSignal | undefined;
}

/** What a program did, once it ended. */
export interface ExecResult {
  /** 128+n when signal n ended it. */
  readonly exitCode: number;
  /** The signal that ended it, by number. */
  readonly signal: number | null;
  /** True when its `timeoutMs` passed and it was killed. */
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Some of what a program has written, as it came. */
export interface OutputPiece {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type StreamName = OutputPiece['stream'];

/** A stream that breaks off is taken up where it was, for so long without anything new. */
const MAX_PAUSES = 8;
const FIRST_PAUSE_MS = 100;
/** One request's worth of input. */
const STDIN_PIECE_BYTES = 1 << 20;

/**
 * A program that runs, or ran, in a sandbox. Awaiting it gives its result once it ended. Its output is kept by the server: any number of readers may read it
 * from its start, at any time, and a connection that breaks is made again without losing any of it.
 */
export class Process implements PromiseLike<ExecResult> {
  readonly stdin: StdinWriter;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly #http: HttpClient;
  readonly #path: string;
  readonly #id: string;
  readonly #started: Promise<unknown>;
  readonly #signal: AbortSignal | undefined;
  #throws: boolean;

  /**
   * @internal `Sandbox.exec` and `Sandbox.process` make these.
   * @param started settles once it was started, or could not be
   */
  constructor(
    http: HttpClient,
    sandboxPath: string,
    id: string,
    started: Promise<unknown>,
    options: Options & { readonly throws?: boolean; readonly killOnAbort?: boolean } = {},
  ) {
    this.#http = http;
    this.#path = `${sandboxPath}/processes/${encodeURIComponent(id)}`;
    this.#id = id;
    this.#started = started;
    this.#signal = options.signal;
    this.#throws = options.throws ?? false;
    if (options.killOnAbort) {
      this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
      started.catch(this.#forgetSignal);
    }
    this.stdin = new StdinWriter(this);
    this.stdout = new OutputStream(this, 'stdout');
    this.stderr = new OutputStream(this, 'stderr');
    // Whoever awaits it is told.
    started.catch(() => {});
  }

  /** Resolves once it has been started, with its id. @throws SkerryError when it cannot be started */
  async id(): Promise<string> {
    await this.#started;
    return this.#id;
  }

  /** Its end does not throw, whatever its exit code. */
  nothrow(): this {
    this.#throws = false;
    return this;
  }

  // biome-ignore lint/suspicious/noThenProperty: `await sandbox.exec(…)` is the point of it.
  then<A = ExecResult, B = never>(
    onResult?: ((result: ExecResult) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.result().then(onResult, onError);
  }

  /** Both streams as they come, then ends with the program. */
  async *[Symbol.asyncIterator](): AsyncGenerator<OutputPiece, void> {
    yield* this.follow('both');
  }

  /** @throws CommandError after `$`, unless `nothrow`; SandboxEndedError */
  async result(options: Options = {}): Promise<ExecResult> {
    const pieces: Record<StreamName, Uint8Array[]> = { stdout: [], stderr: [] };
    const following = this.follow('both', options);
    let next = await following.next();
    for (; !next.done; next = await following.next()) pieces[next.value.stream].push(next.value.bytes);
    const text = (stream: StreamName) => new TextDecoder().decode(concat(pieces[stream]));
    const result = { ...next.value, stdout: text('stdout'), stderr: text('stderr') };
    if (this.#throws && result.exitCode !== 0) throw new CommandError(result);
    return result;
  }

  /** Waits for its end, without its output. @throws SandboxEndedError */
  async wait(options: Options = {}): Promise<ProcessExit> {
    const following = this.follow('none', options);
    for (;;) {
      const next = await following.next();
      if (next.done) return next.value;
    }
  }

  /** Its whole stdout as text. @throws CommandError when its exit code is not 0 */
  async text(options: Options = {}): Promise<string> {
    const result = await this.nothrow().result(options);
    if (result.exitCode !== 0) throw new CommandError(result);
    return result.stdout;
  }

  /** Its stdout as JSON. @throws CommandError, SyntaxError */
  async json<T = unknown>(options: Options = {}): Promise<T> {
    return JSON.parse(await this.text(options)) as T; // the caller says what it is
  }

  /** The lines of its stdout as they come. @throws CommandError at the end, when its exit code is not 0 */
  async *lines(options: Options = {}): AsyncGenerator<string, void> {
    yield* this.stdout.lines(options);
    const exit = await this.wait(options);
    if (exit.exitCode === 0) return;
    throw new CommandError({ ...exit, stdout: '', stderr: await this.stderr.text(options) });
  }

  /** What it has written until now, without waiting for more. */
  async *soFar(options: Options = {}): AsyncGenerator<OutputPiece, void> {
    const { signal } = options;
    const query = { follow: false };
    await this.#started;
    const response = await this.#http.send('GET', `${this.#path}/output`, { query, signal });
    for await (const frame of readFrames(response)) {
      if (frame.kind === 'error') throw errorOfStream(frame.error, this.#http.face);
      if (frame.kind !== 'exit') yield { stream: frame.kind, bytes: frame.bytes };
    }
  }

  /** Sends a signal, SIGTERM by default, to it and everything it started. No effect once it ended. */
  async kill(signal: Signal = 'SIGTERM', options: Options = {}): Promise<void> {
    await this.#started;
    await this.#http.call('POST', `${this.#path}/signal`, { json: { signal }, ...options });
  }

  /** Tells it the size of its terminal. @throws ConflictError when it has none */
  async resize(size: TerminalSize, options: Options = {}): Promise<void> {
    await this.#started;
    await this.#http.call('POST', `${this.#path}/resize`, { json: size, ...options });
  }

  /** Output from its start as it comes; returns its exit. Connections that break are made again. @throws SandboxEndedError */
  async *follow(
    streams: StreamName | 'both' | 'none',
    options: Options = {},
  ): AsyncGenerator<OutputPiece, ProcessExit> {
    const signal = eitherSignal(this.#signal, options.signal);
    await this.#started;
    const path = `${this.#path}/output`;
    const next = { stdout: 0, stderr: 0 };
    for (let pauses = 0; ; pauses++) {
      try {
        const query = { ...next, streams };
        const response = await this.#http.send('GET', path, { query, signal });
        for await (const frame of readFrames(response)) {
          if (frame.kind === 'exit') {
            this.#forgetSignal();
            return frame.exit;
          }
          if (frame.kind === 'error') throw errorOfStream(frame.error, this.#http.face);
          pauses = 0;
          next[frame.kind] += frame.bytes.length;
          yield { stream: frame.kind, bytes: frame.bytes };
        }
        throw unreachable('The server', new Error('the output broke off'), this.#http.face);
      } catch (error) {
        signal?.throwIfAborted();
        if (!isPassing(error) || pauses === MAX_PAUSES) throw error;
      }
      await delay(FIRST_PAUSE_MS * 2 ** Math.min(pauses, 4), signal);
    }
  }

  /** @internal */
  async writeStdin(
    offset: number,
    bytes: Uint8Array<ArrayBuffer>,
    end: boolean,
    options: Options,
  ): Promise<void> {
    await this.#started;
    await this.#http.call<StdinTaken>('POST', `${this.#path}/stdin`, {
      query: { offset, end },
      body: bytes,
      repeatable: true,
      signal: eitherSignal(this.#signal, options.signal),
    });
  }

  /** It may have been started though its caller gave up on the answer. */
  readonly #onAbort = (): void => {
    this.#http.call('POST', `${this.#path}/signal`, { json: { signal: 'SIGKILL' } }).catch(() => {});
  };

  /** One that has ended needs no kill: the signal may live longer, and must not keep this. */
  readonly #forgetSignal = (): void => {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  };
}

function eitherSignal(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  return one && other ? AbortSignal.any([one, other]) : (one ?? other);
}

/** Whether a stream may be taken up again: the connection broke, the server starts again, or the sandbox still starts. */
function isPassing(error: unknown): boolean {
  if (error instanceof NotReadyError) return true;
  if (error instanceof ConnectionError) return error.retryable;
  // What fetch's own streams throw when a connection breaks.
  return error instanceof TypeError || (error instanceof Error && error.name === 'NetworkError');
}

/** One stream of a program's output, from its start, each time it is read. */
export class OutputStream implements AsyncIterable<Uint8Array<ArrayBuffer>> {
  readonly #process: Process;
  readonly #name: StreamName;

  /** @internal */
  constructor(process: Process, name: StreamName) {
    this.#process = process;
    this.#name = name;
  }

  /** Its bytes as they come. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    return this.#pieces({});
  }

  async *#pieces(options: Options): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    for await (const { bytes } of this.#process.follow(this.#name, options)) yield bytes;
  }

  /** All of it, once the program ended. */
  async bytes(options: Options = {}): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.#pieces(options)) pieces.push(piece);
    return concat(pieces);
  }

  /** All of it as UTF-8. */
  async text(options: Options = {}): Promise<string> {
    return new TextDecoder().decode(await this.bytes(options));
  }

  /** Its lines as they come, without their ends. */
  lines(options: Options = {}): AsyncGenerator<string, void> {
    return linesOf(this.#pieces(options));
  }

  /** As a stream of the web. */
  readable(options: Options = {}): ReadableStream<Uint8Array<ArrayBuffer>> {
    const pieces = this.#pieces(options);
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await pieces.return();
      },
    });
  }
}

/** What can be given to a program as its input. */
export type Input = string | Uint8Array | AsyncIterable<string | Uint8Array>;

/** The input of a program that was started with `stdin: 'open'`. */
export class StdinWriter {
  readonly #process: Process;
  #offset = 0;
  /** Writes are one after the other. */
  #last: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(process: Process) {
    this.#process = process;
  }

  /** Resolves when the program has taken it. @throws ConflictError when it reads no more */
  write(input: string | Uint8Array, options: Options = {}): Promise<void> {
    return this.#send(toBytes(input), false, options);
  }

  /** Nothing comes after this. */
  end(input: string | Uint8Array = '', options: Options = {}): Promise<void> {
    return this.#send(toBytes(input), true, options);
  }

  /** @internal Writes all of it, and ends. */
  async feed(input: Input): Promise<void> {
    if (typeof input === 'string' || input instanceof Uint8Array) return this.end(input);
    for await (const piece of input) await this.write(piece);
    await this.end();
  }

  #send(bytes: Uint8Array, end: boolean, options: Options): Promise<void> {
    const sent = this.#last.then(async () => {
      let at = 0;
      do {
        const piece = bytes.slice(at, at + STDIN_PIECE_BYTES);
        at += piece.length;
        await this.#process.writeStdin(this.#offset, piece, end && at >= bytes.length, options);
        this.#offset += piece.length;
      } while (at < bytes.length);
    });
    this.#last = sent.catch(() => {});
    return sent;
  }
}

const toBytes = (input: string | Uint8Array): Uint8Array =>
  typeof input === 'string' ? new TextEncoder().encode(input) : input;
