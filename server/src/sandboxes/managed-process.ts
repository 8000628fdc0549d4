/**
 * One process of a sandbox, from the server's side: its output logs, its input, its exit, and the connection to the agent, which may break and be
 * made again without the process noticing.
 */
import { join } from 'node:path';
import type { AgentClient } from '../agent/agent-client.ts';
import type { StartRequest } from '../agent/messages.ts';
import type { ProcessChannel, ProcessSink } from '../agent/process-channel.ts';
import { type ErrorCode, SkerryError } from '../errors/skerry-error.ts';
import { ENTRYPOINT_PROCESS_ID, type ProcessId, type TaskId } from '../ids.ts';
import { setAlarm } from '../platform/alarm.ts';
import type { Ledger } from '../platform/ledger.ts';
import { delay, unlessAborted } from '../platform/wait.ts';
import type { Counts } from '../telemetry/counts.ts';
import type { Logger } from '../telemetry/logger.ts';
import { timed } from '../telemetry/tracing.ts';
import type { OutputBudget } from './output-budget.ts';
import { OutputLog } from './output-log.ts';
import type { ProcessRepository } from './repositories.ts';
import type { Process } from './sandboxes.ts';
import { SentSignals } from './sent-signals.ts';
import type { PtySize } from './spec.ts';
import { type ProcessExit, toProcessExit } from './state.ts';

/** What a sandbox gives each of its processes. */
export interface ProcessContext {
  readonly taskId: TaskId;
  /** Directory of the output files. */
  readonly outputDir: string;
  readonly budget: OutputBudget;
  readonly repository: ProcessRepository;
  readonly ledger: Ledger;
  readonly counts: Counts;
  readonly logger: Logger;
  readonly now: () => number;
  /** Aborted when the sandbox ended. */
  readonly ended: AbortSignal;
  /** Called when a process starts to run and when it ended: the idle clock. */
  readonly onActivity: () => void;
  /** Called when one ended by SIGKILL. */
  readonly onKilled: () => void;
  /** Keeps the idle clock from running until the returned function is called. */
  readonly hold: () => () => void;
  /** Somebody waits for the connection to the agent, which a suspended sandbox has none of. */
  readonly onNeeded: () => void;
}

const REATTACH_DELAY_MS = 20;
/** The exit code of a process that could not become its program: what container runtimes give. */
const UNSTARTABLE_EXIT_CODE = 128;
/** What the caller of a process can be at fault for. */
const START_FAILURES: readonly ErrorCode[] = [
  'program-not-found',
  'program-not-executable',
  'bad-workdir',
  'bad-user',
];
const SIGKILL = 9;
/** What a process gets that was still running when its sandbox ended: killed. */
const KILLED: ProcessExit = { kind: 'signal', signal: SIGKILL, timedOut: false };
/** The agent kills a process at its timeout. One whose agent has said nothing of it by so much later is taken for killed. */
const AGENT_SILENCE_MS = 10_000;

type Connection =
  | { readonly kind: 'connected'; readonly channel: ProcessChannel }
  /** Broken; a new one is being made. `next` settles with it. */
  | { readonly kind: 'reconnecting'; readonly next: Promise<void> }
  /** The process ended and was released, or its sandbox is gone. */
  | { readonly kind: 'closed' };

export class ManagedProcess implements Process {
  readonly id: ProcessId;
  readonly taskId: TaskId;
  readonly argv: readonly string[];
  readonly createdAtMs: number;
  readonly timeoutMs: number | undefined;
  readonly stdout: OutputLog;
  readonly stderr: OutputLog;
  readonly #context: ProcessContext;
  readonly #hasPty: boolean;
  #exit: ProcessExit | undefined;
  readonly #exited = Promise.withResolvers<ProcessExit>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #stored = Promise.withResolvers<void>();
  #connection: Connection = { kind: 'closed' };
  #agent: AgentClient | undefined;
  readonly #signals = new SentSignals();
  #stdinAccepted = 0;
  #stdinClosed = false;
  #startFailure: SkerryError | undefined;
  /** Aborted when it must have been killed by now, and its agent has not said so. */
  readonly #overdue = new AbortController();
  #stopAlarm: () => void = () => {};
  /** What the agent says. */
  readonly #sink: ProcessSink = {
    write: (stream, offset, chunk) => {
      this.#context.counts.outputBytes += chunk.length;
      return this[stream].append(offset, chunk);
    },
    eof: (stream) => {
      this[stream].end();
      this.#releaseWhenDone();
    },
    exit: (exit) => {
      if (!this.#exit) this.#ended(toProcessExit(exit));
      this.#releaseWhenDone();
    },
    lost: (error) => {
      if (this.#connection.kind !== 'connected') return;
      this.#context.logger.debug(
        { taskId: this.taskId, process: this.id, err: error },
        'agent.connection-lost',
      );
      this.#reconnect();
    },
  };
  /** Writes of one input must not interleave. */
  #stdinQueue: Promise<void> = Promise.resolve();

  constructor(
    context: ProcessContext,
    row: {
      id: ProcessId;
      argv: readonly string[];
      hasPty: boolean;
      timeoutMs: number | undefined;
      createdAtMs: number;
      exit: ProcessExit | undefined;
      stdinAccepted?: number;
      /** No server knew it before, so there is no output of it. */
      isNew?: boolean;
    },
  ) {
    this.#context = context;
    this.id = row.id;
    this.taskId = context.taskId;
    this.argv = row.argv;
    this.createdAtMs = row.createdAtMs;
    this.timeoutMs = row.timeoutMs;
    this.#hasPty = row.hasPty;
    // Logs are the entrypoint's.
    const now = row.id === ENTRYPOINT_PROCESS_ID ? context.now : undefined;
    const kind = { isNew: row.isNew === true, now };
    this.stdout = new OutputLog(join(context.outputDir, `${row.id}.out`), context.budget, kind);
    this.stderr = new OutputLog(join(context.outputDir, `${row.id}.err`), context.budget, kind);
    this.#stdinAccepted = row.stdinAccepted ?? 0;
    if (row.exit) {
      this.#exit = row.exit;
      this.#stdinClosed = true;
      this.#exited.resolve(row.exit);
      this.#stored.resolve();
    }
  }

  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  get running(): boolean {
    return this.#exit === undefined && !this.#context.ended.aborted;
  }

  /** Why it could not be started, when that was taken for its end. */
  get startFailure(): SkerryError | undefined {
    return this.#startFailure;
  }

  /** Settles once the process ended and both streams reached their end. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /** Settles once nothing of it is known here alone: it is over, and the store and its files have all of it. */
  get forgettable(): Promise<unknown> {
    return Promise.all([this.#drained.promise, this.#stored.promise]);
  }

  /**
   * Starts it. On failure the id is free again, unless `failureIsExit` makes the caller's own fault the end of the process.
   * @throws SkerryError as `AgentClient.start`
   */
  async start(
    agent: AgentClient,
    request: StartRequest,
    signal: AbortSignal,
    failureIsExit = false,
  ): Promise<void> {
    this.#agent = agent;
    this.#context.repository.insert({ ...this, hasPty: this.#hasPty });
    if (request.stdout !== 'pipe') this.stdout.end();
    if (request.stderr !== 'pipe') this.stderr.end();
    const { now } = this.#context;
    if (request.timeoutMs != null) {
      const atMs = now() + request.timeoutMs + AGENT_SILENCE_MS;
      this.#stopAlarm = setAlarm(atMs, now, () => this.#giveUp());
    }
    // Without a timeout it is never overdue, and a signal made of two is dear.
    const either = request.timeoutMs == null ? signal : AbortSignal.any([signal, this.#overdue.signal]);
    try {
      const channel = await timed('process.start', () => agent.start(request, this.#sink, either));
      this.#connection = { kind: 'connected', channel };
      if (!this.#exit) this.#tell(() => this.#context.repository.started(this.taskId, this.id));
      // A short program's end may have come with the answer, before this.
      this.#releaseWhenDone();
    } catch (error) {
      this.#connection = { kind: 'closed' };
      if (this.#overdue.signal.aborted) return; // it is over
      this.#stopAlarm();
      if (failureIsExit && error instanceof SkerryError && START_FAILURES.includes(error.code)) {
        this.#endUnstarted(request, error);
        return;
      }
      this.stdout.end();
      this.stderr.end();
      if (!this.#context.ended.aborted)
        this.#tell(() => this.#context.repository.delete(this.taskId, this.id));
      throw error;
    }
    this.#context.onActivity();
  }

  /** It runs already, and no server knew it before. */
  takeUp(agent: AgentClient): void {
    this.#context.repository.insert({ ...this, hasPty: this.#hasPty });
    this.resume(agent);
  }

  /** It runs as far as is known; `resume` or `abandon` is called before `known` resolves. */
  awaitAgent(known: Promise<void>): void {
    this.#connection = { kind: 'reconnecting', next: known };
  }

  /** Its sandbox is suspended: what is asked of it waits for `resume`, which is called before `awake` resolves. */
  sleep(awake: Promise<void>): void {
    if (this.#connection.kind === 'closed') return; // it is over
    this.detach();
    this.awaitAgent(awake);
  }

  /** After a restart of the server: takes up where the earlier one stopped. */
  resume(agent: AgentClient): void {
    this.#agent = agent;
    this.#reconnect();
  }

  wait(signal: AbortSignal): Promise<ProcessExit> {
    if (this.#exit) return Promise.resolve(this.#exit);
    return unlessAborted(this.#exited.promise, signal);
  }

  writeStdin(offset: number, data: Uint8Array, signal: AbortSignal): Promise<void> {
    const write = this.#stdinQueue.then(async () => {
      // A repeat of what was taken succeeds, also when the process has ended since: the answer to the first try was lost.
      const wasTaken = () => offset + data.length <= this.#stdinAccepted;
      while (!wasTaken()) {
        signal.throwIfAborted();
        if (this.#stdinClosed || !this.running) throw this.#stdinClosedError();
        let channel: ProcessChannel;
        try {
          channel = await this.#connected(signal);
        } catch (error) {
          if (wasTaken()) return;
          throw error;
        }
        if (offset > this.#stdinAccepted) {
          throw new SkerryError(
            'invalid-argument',
            `Input continues at offset ${this.#stdinAccepted}, but this write starts at ${offset}: bytes between them are missing.`,
          );
        }
        const fresh = data.subarray(this.#stdinAccepted - offset);
        try {
          await unlessAborted(channel.writeStdin(this.#stdinAccepted, fresh), signal);
          this.#countTaken(channel);
          if (this.#exit) this.#storeEnd(this.#exit);
          this.#context.onActivity();
          return;
        } catch (error) {
          this.#countTaken(channel);
          if (this.#connection.kind === 'connected' && this.#connection.channel === channel) throw error;
          // The connection broke under the write: after the reconnect the agent says how much it took.
        }
      }
    });
    this.#stdinQueue = write.catch(() => {});
    return unlessAborted(write, signal);
  }

  closeStdin(signal: AbortSignal): Promise<void> {
    const close = this.#stdinQueue.then(async () => {
      while (!this.#stdinClosed && this.running) {
        const channel = await this.#connected(signal);
        try {
          await unlessAborted(channel.closeStdin(), signal);
          this.#stdinClosed = true;
        } catch (error) {
          signal.throwIfAborted();
          if (this.#connection.kind === 'connected' && this.#connection.channel === channel) throw error;
          // The connection broke under it: after the reconnect the agent says whether it got the end.
        }
      }
    });
    this.#stdinQueue = close.catch(() => {});
    return unlessAborted(close, signal);
  }

  async stdinStatus(signal: AbortSignal): Promise<{ readonly accepted: number; readonly closed: boolean }> {
    if (!this.#stdinClosed && this.running)
      await this.#connected(signal).then(
        (channel) => this.#countTaken(channel),
        () => signal.throwIfAborted(),
      );
    return { accepted: this.#stdinAccepted, closed: this.#stdinClosed || !this.running };
  }

  async kill(signal: number, scope: 'process' | 'group'): Promise<void> {
    if (!this.running) return;
    const channel = await this.#connected(this.#context.ended);
    this.#signals.send(channel, signal, scope === 'group' ? 'family' : 'process');
  }

  async resize(size: PtySize): Promise<void> {
    if (!this.#hasPty) throw new SkerryError('conflict', 'The process has no terminal to resize.');
    if (!this.running) return;
    this.#signals.resize(await this.#connected(this.#context.ended), size);
  }

  /** The sandbox is gone: whatever was not over is now. */
  abandon(): void {
    this.#over(KILLED);
  }

  /** Lets go of the connection; the process goes on (the server shuts down). */
  detach(): void {
    this.#stopAlarm();
    if (this.#connection.kind === 'connected') this.#connection.channel.detach();
    this.#connection = { kind: 'closed' };
    this.#agent = undefined; // nor is a broken connection made again
  }

  /** The agent is silent: nobody waits any longer for what it does not say. */
  #giveUp(): void {
    if (this.#exit) return;
    this.#context.logger.warn({ taskId: this.taskId, process: this.id }, 'process.agent-silent');
    this.#over({ ...KILLED, timedOut: true });
    this.#overdue.abort();
  }

  #over(exit: ProcessExit): void {
    this.stdout.end();
    this.stderr.end();
    if (!this.#exit) this.#ended(exit);
    this.#drained.resolve();
    this.detach();
  }

  #endUnstarted(request: StartRequest, failure: SkerryError): void {
    this.#startFailure = failure;
    const words = Buffer.from(`${failure.message}${request.pty ? '\r\n' : '\n'}`);
    const stream = request.pty || request.stderr === 'stdout' ? this.stdout : this.stderr;
    // At the bound of the sandbox's output there is no room for it, and nobody waits for any.
    void stream.append(0, words)?.catch(() => {});
    this.stdout.end();
    this.stderr.end();
    this.#ended({ kind: 'code', code: UNSTARTABLE_EXIT_CODE, timedOut: false });
    this.#drained.resolve();
  }

  #ended(exit: ProcessExit): void {
    this.#stopAlarm();
    this.#exit = exit;
    this.#stdinClosed = true;
    this.#storeEnd(exit);
    this.#exited.resolve(exit);
    if (exit.kind === 'signal' && exit.signal === SIGKILL) this.#context.onKilled();
    this.#context.onActivity();
  }

  /** The agent counts further than a writer waits that left. */
  #countTaken({ stdinAccepted }: ProcessChannel): void {
    const fresh = stdinAccepted - this.#stdinAccepted;
    if (fresh <= 0) return;
    this.#stdinAccepted = stdinAccepted;
    this.#context.counts.inputBytes += fresh;
  }

  #storeEnd(exit: ProcessExit): void {
    const [accepted, atMs] = [this.#stdinAccepted, this.#context.now()];
    this.#tell(
      () => this.#context.repository.ended(this, exit, accepted, atMs),
      () => this.#stored.resolve(),
    );
  }

  #tell(write: () => void, onWritten?: () => void): void {
    this.#context.ledger.tell(`process ${this.taskId} ${this.id}`, write, onWritten);
  }

  #releaseWhenDone(): void {
    if (!this.#exit || !this.stdout.ended || !this.stderr.ended) return;
    if (this.#connection.kind === 'connected') this.#connection.channel.release();
    this.#connection = { kind: 'closed' };
    this.#drained.resolve();
  }

  #reconnect(): void {
    const next = this.#attach().catch((error: unknown) => {
      this.#context.logger.debug(
        { taskId: this.taskId, process: this.id, err: error },
        'agent.reattach-failed',
      );
    });
    this.#connection = { kind: 'reconnecting', next };
  }

  async #attach(): Promise<void> {
    const { ended } = this.#context;
    while (!ended.aborted && this.#agent) {
      const offsets = { stdout: this.stdout.length, stderr: this.stderr.length };
      try {
        const channel = await this.#agent.attach(this.id, offsets, this.#sink, ended);
        if (!this.#agent) return channel.detach();
        this.#countTaken(channel);
        this.#stdinClosed ||= channel.stdinClosed;
        this.#connection = { kind: 'connected', channel };
        if (!this.#exit) this.#signals.moveTo(channel);
        // Its exit may have come with the answer, before this.
        if (this.#exit) this.#storeEnd(this.#exit);
        else this.#tell(() => this.#context.repository.started(this.taskId, this.id));
        this.#releaseWhenDone();
        return;
      } catch (error) {
        if (ended.aborted) return;
        if (error instanceof SkerryError && error.code === 'not-found') return this.abandon();
        await delay(REATTACH_DELAY_MS, ended).catch(() => {});
      }
    }
  }

  async #connected(signal: AbortSignal): Promise<ProcessChannel> {
    while (true) {
      signal.throwIfAborted();
      const connection = this.#connection;
      if (connection.kind === 'connected') return connection.channel;
      if (connection.kind === 'closed') throw this.#stdinClosedError();
      this.#context.onNeeded();
      await connection.next;
    }
  }

  #stdinClosedError(): SkerryError {
    const why = this.#exit
      ? 'the process has ended'
      : this.#stdinClosed
        ? 'its input was closed'
        : 'its sandbox has already completed';
    return new SkerryError('stdin-closed', `Cannot write to ${this.argv[0] ?? 'the process'}: ${why}.`);
  }
}
