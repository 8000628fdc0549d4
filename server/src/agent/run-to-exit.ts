/**
 * Runs a program of ours in a sandbox to its exit: probes, build steps, the file helper's own work. A connection that breaks on the way is replaced,
 * and whatever happens the agent is told to forget the process, which would else be kept, and run, for as long as the sandbox lives.
 */
import { SkerryError } from '../errors/skerry-error.ts';
import { unlessAborted, withDeadline } from '../platform/wait.ts';
import type { AgentClient } from './agent-client.ts';
import type { AgentExit, OutputStream } from './frames.ts';
import type { StartRequest } from './messages.ts';
import type { OutputOffsets, ProcessChannel, ProcessSink } from './process-channel.ts';

/** The agent answers in milliseconds; under gVisor on a busy machine in seconds. */
const ANSWER_MS = 60_000;
/** How long output may still come after the program's end, from an agent that waits for children which hold the pipes. */
const DRAIN_MS = 2000;
/** How long it is tried to have a program killed and forgotten that nobody waits for any more. */
const FORGET_MS = 30_000;
const SIGKILL = 9;

/** No input, and a time that the agent itself ends the program at. */
export type ProgramRequest = Omit<StartRequest, 'stdin' | 'timeoutMs' | 'pty'> & {
  readonly timeoutMs: number;
};

/**
 * Resolves when the program has exited and its output was handed to `onOutput`.
 * @throws SkerryError as `AgentClient.start`; `unavailable` when the agent answers no more, `sandbox-ended` when it is gone; the signal's reason, at once:
 * what runs is killed then
 */
export async function runToExit(
  agent: AgentClient,
  request: ProgramRequest,
  onOutput: (stream: OutputStream, chunk: Buffer) => void,
  signal: AbortSignal,
): Promise<AgentExit> {
  const program = new Program(agent, { ...request, stdin: 'null', pty: null }, onOutput);
  try {
    return await program.run(request.timeoutMs, signal);
  } finally {
    program.letGo();
  }
}

/**
 * The same of a program that may go on: resolves with undefined when `ready` did before it exited. What runs by then, or when it fails, is let go of and not killed, and its output stays with the agent.
 * @throws as `runToExit`
 */
export async function runUntil(
  agent: AgentClient,
  request: ProgramRequest,
  onOutput: (stream: OutputStream, chunk: Buffer) => void,
  ready: Promise<undefined>,
  signal: AbortSignal,
): Promise<AgentExit | undefined> {
  const program = new Program(agent, { ...request, stdin: 'null', pty: null }, onOutput);
  try {
    return await Promise.race([program.run(request.timeoutMs, signal), ready]);
  } finally {
    program.leave();
  }
}

/**
 * Kills a process that nobody waits for, with its children, and has the agent forget it: over a connection of its own, reading from `offsets`.
 * @throws SkerryError as `AgentClient.attach`; the reason of a timeout of 30 s
 */
export async function forgetProgram(agent: AgentClient, id: string, offsets: OutputOffsets): Promise<void> {
  const signal = AbortSignal.timeout(FORGET_MS);
  const ended = Promise.withResolvers<void>();
  ended.promise.catch(() => {}); // awaited below, unless it cannot be attached to
  const sink: ProcessSink = {
    write: () => undefined,
    eof: () => {},
    exit: () => ended.resolve(),
    lost: (error) => ended.reject(error),
  };
  const process = await agent.attach(id, offsets, sink, signal);
  try {
    process.signal(SIGKILL, 'family');
    await unlessAborted(ended.promise, signal);
    process.release();
  } catch (error) {
    process.detach();
    throw error;
  }
}

class Program {
  readonly #agent: AgentClient;
  readonly #request: StartRequest;
  readonly #exit = Promise.withResolvers<AgentExit>();
  readonly #drained = { stdout: Promise.withResolvers<void>(), stderr: Promise.withResolvers<void>() };
  readonly #sink: ProcessSink;
  /** What was taken: where a new connection goes on. */
  readonly #taken = { stdout: 0, stderr: 0 };
  readonly #done = new AbortController();
  /** While a connection to it is open. */
  #process: ProcessChannel | undefined;
  /** The agent said that it did not start it. */
  #refused = false;
  #exited = false;

  constructor(
    agent: AgentClient,
    request: StartRequest,
    onOutput: (stream: OutputStream, chunk: Buffer) => void,
  ) {
    this.#agent = agent;
    this.#request = request;
    this.#exit.promise.catch(() => {}); // awaited in `run`, unless that ends before
    this.#sink = {
      write: (stream, offset, chunk) => {
        this.#taken[stream] = offset + chunk.length;
        onOutput(stream, chunk);
        return undefined;
      },
      eof: (stream) => this.#drained[stream].resolve(),
      exit: (exit) => {
        this.#exited = true;
        this.#exit.resolve(exit);
      },
      lost: () => {
        this.#process = undefined;
        void this.#attachAgain();
      },
    };
  }

  async run(timeoutMs: number, signal: AbortSignal): Promise<AgentExit> {
    this.#process = await inTime(this.#start(), ANSWER_MS, signal, 'did not answer');
    const exit = await inTime(this.#exit.promise, timeoutMs + ANSWER_MS, signal, 'stopped answering');
    const { stdout, stderr } = this.#drained;
    await withDeadline(Promise.all([stdout.promise, stderr.promise]), DRAIN_MS, signal);
    return exit;
  }

  leave(): void {
    this.#done.abort();
    if (this.#exited) this.#process?.release();
    else this.#process?.detach();
  }

  letGo(): void {
    this.#done.abort();
    if (this.#refused) return;
    if (this.#process && this.#exited) this.#process.release();
    else void forgetProgram(this.#agent, this.#request.id, this.#taken).catch(() => {}); // the sandbox is gone, or will be
  }

  async #start(): Promise<ProcessChannel> {
    try {
      return await this.#agent.start(this.#request, this.#sink, this.#done.signal);
    } catch (error) {
      this.#refused =
        error instanceof SkerryError && error.code !== 'unavailable' && !this.#done.signal.aborted;
      throw error;
    }
  }

  async #attachAgain(): Promise<void> {
    if (this.#done.signal.aborted) return;
    try {
      this.#process = await this.#agent.attach(this.#request.id, this.#taken, this.#sink, this.#done.signal);
    } catch (error) {
      this.#exit.reject(error);
    }
  }
}

/** Like `withDeadline`, but with a timer that keeps no process alive: a server that lets go of its sandboxes leaves these waits as they are. */
async function inTime<T>(
  promise: Promise<T>,
  ms: number,
  signal: AbortSignal,
  otherwise: string,
): Promise<T> {
  promise.catch(() => {}); // it may fail after the wait is over
  const limit = AbortSignal.timeout(ms);
  try {
    return await unlessAborted(promise, AbortSignal.any([signal, limit]));
  } catch (error) {
    const late = limit.aborted && !signal.aborted && error === limit.reason;
    throw late ? new SkerryError('unavailable', `The agent in the sandbox ${otherwise}.`) : error;
  }
}
