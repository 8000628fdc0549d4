/** Asks the worker that has the connection, and waits for the answer without letting anything else happen on this thread. */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { DatabaseSource } from './connection.ts';
import { LEADER_LOCK } from './locks.ts';
import type { Answer, Request, WorkerData } from './messages.ts';
import { ANSWER_TIMEOUT_MS, WORKER_TIMEOUT_MS } from './timeouts.ts';

/** More connections than a worker makes. */
const SESSIONS_OF_ONE = 1_000_000_000;

interface Running {
  readonly worker: Worker;
  readonly port: MessagePort;
  /** One Int32, which goes up by one with every answer. */
  readonly answers: Int32Array<SharedArrayBuffer>;
}

/** What tests have otherwise. */
export interface BlockingWorkerOptions {
  readonly program?: URL;
  /** With the worker itself. */
  readonly patienceMs?: number;
  /** With the database, for one statement. */
  readonly answerTimeoutMs?: number;
  /** What its connection holds (`locks.ts`); that of the server that leads by default. */
  readonly lock?: string;
}

export class BlockingWorker {
  readonly #source: DatabaseSource;
  readonly #program: URL;
  readonly #patienceMs: number;
  readonly #answerTimeoutMs: number;
  readonly #lock: string;
  #running: Running | undefined;
  #started = 0;
  #closed = false;

  constructor(source: DatabaseSource, options: BlockingWorkerOptions = {}) {
    const { program, patienceMs = WORKER_TIMEOUT_MS, answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
    this.#source = source;
    this.#lock = options.lock ?? LEADER_LOCK;
    this.#program = program ?? new URL('./worker.ts', import.meta.url);
    this.#patienceMs = patienceMs;
    this.#answerTimeoutMs = answerTimeoutMs;
  }

  /** A worker that gives no answer, not even that there is none, is replaced by the next question. */
  ask(request: Request): Answer {
    if (this.#closed) throw new Error('the database is closed');
    this.#running ??= this.#start();
    const { answers, port } = this.#running;
    const before = Atomics.load(answers, 0);
    port.postMessage(request);
    Atomics.wait(answers, 0, before, this.#patienceMs);
    // Posted before the counter went up.
    const received = receiveMessageOnPort(port);
    if (received) return received.message;
    this.#end();
    return { kind: 'unreachable', why: 'the thread that has the connection gives no answer' };
  }

  close(): void {
    if (this.#running) this.ask({ kind: 'close' });
    this.#end();
    this.#closed = true;
  }

  #start(): Running {
    const { port1: port, port2 } = new MessageChannel();
    const answers = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const workerData: WorkerData = {
      ...{
        source: this.#source,
        answerTimeoutMs: this.#answerTimeoutMs,
        lock: this.#lock,
        port: port2,
        answers: answers.buffer,
      },
      sessionsBefore: SESSIONS_OF_ONE * this.#started++,
    };
    const worker = new Worker(this.#program, {
      workerData,
      transferList: [port2],
      execArgv: [], // whatever this process was started with is about its own program
    });
    worker.on('error', () => {}); // what it dies of shows as a missing answer
    worker.unref();
    port.unref();
    return { worker, port, answers };
  }

  #end(): void {
    this.#running?.port.close();
    void this.#running?.worker.terminate();
    this.#running = undefined;
  }
}
