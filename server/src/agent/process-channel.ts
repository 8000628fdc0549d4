/** What the server has of a process in a sandbox while a connection to it is open. */
import type { Duplex } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import { AgentConnection, type Meet } from './agent-connection.ts';
import { type AgentExit, type AgentFrame, encode, type OutputStream } from './frames.ts';
import type { Peer } from './hello.ts';
import { errorFromAgent, parse, protocolError, startedSchema } from './messages.ts';
import { OutputReceiver } from './output-receiver.ts';
import { StdinWriter } from './stdin-writer.ts';

/**
 * Where a process's output and end go. Calls may come before `start` or `attach` has returned. The order between the two streams and the
 * exit is not defined: output may follow `exit`.
 */
export interface ProcessSink {
  /**
   * Bytes of a stream, in order, without gap or repeat. The next bytes of this stream wait until the promise resolves; the agent forgets
   * them only then. `chunk` is the sink's to keep. A rejection ends the connection with that error.
   */
  write(stream: OutputStream, offset: number, chunk: Buffer): Promise<void> | undefined;
  /** The stream ended; `length` is its total number of bytes. */
  eof(stream: OutputStream, length: number): void;
  exit(exit: AgentExit): void;
  /** The connection broke before both ends and the exit came: attach again from what is stored. */
  lost(error: SkerryError): void;
}

/** Where to go on reading; bytes from the start of each stream. */
export interface OutputOffsets {
  readonly stdout: number;
  readonly stderr: number;
}

export interface ProcessChannel {
  /** In the sandbox's own numbering. */
  readonly pid: number;
  /** Bytes of standard input the process has taken so far. */
  readonly stdinAccepted: number;
  readonly stdinClosed: boolean;
  /** How many signals had reached the process when this connection began; undefined where the agent is of a version that does not count them. */
  readonly signalsTaken: number | undefined;
  /**
   * Writes bytes that begin at `offset` of standard input. Bytes that came before are skipped, so a caller may repeat itself. Resolves when the
   * process has taken them all; callers that do not wait for that must bound what they hand over.
   * @throws SkerryError `stdin-closed`, `invalid-argument` for a gap, `unavailable` when the connection broke.
   */
  writeStdin(offset: number, data: Uint8Array): Promise<void>;
  /** Ends standard input after what was written. Resolves when the process has got the end. @throws as `writeStdin`. */
  closeStdin(): Promise<void>;
  /** `process` alone, or its `family`: process group, session and all descendants. */
  signal(signal: number, scope: 'process' | 'family'): void;
  /** Sets the size of the terminal, 0 to 65535 each. Ends the connection of a process without one. */
  resize(rows: number, cols: number): void;
  /** Everything is stored: the agent may forget the process, which must have ended. Output that has not come by now is lost. */
  release(): void;
  /** Lets go of the process, which goes on. No call of the sink follows. */
  detach(): void;
}

interface OpenOptions {
  readonly meet: Meet;
  /** Makes START or ATTACH. */
  readonly request: (peer: Peer) => Buffer;
  readonly offsets: OutputOffsets;
  readonly sink: ProcessSink;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/**
 * Sends START or ATTACH on a fresh connection and waits for the answer.
 * @throws SkerryError what the agent answered; `unavailable` when it did not; the signal's reason.
 */
export function openChannel(duplex: Duplex, options: OpenOptions): Promise<ProcessChannel> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      process.detach();
      reject(signal.reason);
    };
    const settled = () => signal.removeEventListener('abort', onAbort);
    const process = new ConnectedChannel(duplex, options, {
      started: () => {
        settled();
        resolve(process);
      },
      refused: (error) => {
        settled();
        reject(error);
      },
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

interface Answer {
  started(): void;
  refused(error: SkerryError): void;
}

type State =
  | { readonly name: 'opening' }
  | { readonly name: 'open'; readonly pid: number; readonly stdin: StdinWriter }
  | { readonly name: 'closed'; readonly pid: number; readonly stdin: StdinWriter | undefined };

class ConnectedChannel implements ProcessChannel {
  readonly #connection: AgentConnection;
  readonly #sink: ProcessSink;
  readonly #logger: Logger;
  readonly #answer: Answer;
  readonly #output: Readonly<Record<OutputStream, OutputReceiver>>;
  #state: State = { name: 'opening' };
  #exited = false;
  signalsTaken: number | undefined;

  constructor(duplex: Duplex, { meet, request, offsets, sink, logger }: OpenOptions, answer: Answer) {
    this.#sink = sink;
    this.#logger = logger;
    this.#answer = answer;
    const receiver = (stream: OutputStream) =>
      new OutputReceiver(stream, offsets[stream], {
        write: (offset, chunk) => sink.write(stream, offset, chunk),
        eof: (length) => sink.eof(stream, length),
        acknowledge: (_, offset) => this.#connection.send(encode.ack(stream, offset)),
        failed: (error) => this.#connection.fail(asError(error)),
      });
    this.#output = { stdout: receiver('stdout'), stderr: receiver('stderr') };
    this.#connection = new AgentConnection(duplex, meet, {
      request,
      frame: (frame) => this.#onFrame(frame),
      idle: () => {
        this.#output.stdout.flush();
        this.#output.stderr.flush();
      },
      end: (error) => this.#onEnd(error),
    });
  }

  get pid(): number {
    return this.#state.name === 'opening' ? 0 : this.#state.pid;
  }

  get stdinAccepted(): number {
    return this.#state.name === 'opening' ? 0 : (this.#state.stdin?.accepted ?? 0);
  }

  get stdinClosed(): boolean {
    return this.#state.name !== 'opening' && (this.#state.stdin?.closed ?? false);
  }

  writeStdin(offset: number, data: Uint8Array): Promise<void> {
    if (this.#state.name === 'opening' || !this.#state.stdin) return Promise.reject(released());
    return this.#state.stdin.write(offset, data);
  }

  closeStdin(): Promise<void> {
    if (this.#state.name === 'opening' || !this.#state.stdin) return Promise.reject(released());
    return this.#state.stdin.close();
  }

  signal(signal: number, scope: 'process' | 'family'): void {
    if (!Number.isInteger(signal) || signal < 1 || signal > 64) {
      throw new SkerryError('invalid-argument', `There is no signal ${signal}.`);
    }
    this.#connection.send(encode.signal(signal, scope));
  }

  resize(rows: number, cols: number): void {
    if (![rows, cols].every((size) => Number.isInteger(size) && size >= 0 && size <= 0xffff)) {
      throw new SkerryError('invalid-argument', `A terminal cannot have ${rows} rows and ${cols} columns.`);
    }
    this.#connection.send(encode.resize(rows, cols));
  }

  release(): void {
    this.#connection.close(encode.release());
    this.#close(released);
  }

  detach(): void {
    this.#connection.close();
    this.#close(released);
  }

  #onFrame(frame: AgentFrame): void {
    if (this.#state.name === 'opening') {
      this.#onAnswer(frame);
      return;
    }
    switch (frame.type) {
      case 'output':
        this.#output[frame.stream].data(frame.offset, frame.data);
        return;
      case 'eof':
        this.#output[frame.stream].eof(frame.length);
        return;
      case 'stdin-ack':
        this.#state.stdin?.acknowledge(frame.accepted, frame.closed);
        return;
      case 'exit':
        if (this.#exited) throw protocolError('a second EXIT');
        this.#exited = true;
        this.#sink.exit(frame.exit);
        return;
      case 'error':
        throw errorFromAgent(frame.json);
      case 'hello':
      case 'started':
      case 'result':
      case 'connected':
      case 'data':
      case 'end':
        throw protocolError(`${frame.type} where it does not belong`);
      default:
        frame satisfies never;
    }
  }

  #onAnswer(frame: AgentFrame): void {
    if (frame.type === 'error') throw errorFromAgent(frame.json);
    if (frame.type !== 'started') throw protocolError(`${frame.type} before STARTED`);
    const { pid, stdinAccepted, stdinClosed, signalsTaken } = parse(startedSchema, frame.json, 'STARTED');
    this.signalsTaken = signalsTaken;
    const stdin = new StdinWriter((...parts) => this.#connection.send(...parts), stdinAccepted, stdinClosed);
    this.#state = { name: 'open', pid, stdin };
    this.#answer.started();
  }

  #onEnd(error: SkerryError): void {
    const opening = this.#state.name === 'opening';
    const finished = this.#exited && this.#output.stdout.ended && this.#output.stderr.ended;
    if (error.code === 'internal') this.#logger.warn({ err: error }, 'agent.connection.failed');
    this.#close(() => error);
    if (opening) this.#answer.refused(error);
    else if (!finished) this.#sink.lost(error);
  }

  #close(why: () => SkerryError): void {
    this.#output.stdout.stop();
    this.#output.stderr.stop();
    if (this.#state.name === 'open') this.#state.stdin.lose(why);
    if (this.#state.name === 'closed') return;
    this.#state =
      this.#state.name === 'open'
        ? { name: 'closed', pid: this.#state.pid, stdin: this.#state.stdin }
        : { name: 'closed', pid: 0, stdin: undefined };
  }
}

const released = () => new SkerryError('conflict', 'The server has let go of this process.');

const asError = (error: unknown): SkerryError =>
  error instanceof SkerryError
    ? error
    : new SkerryError('internal', 'Output of the process could not be stored.', { cause: error });
