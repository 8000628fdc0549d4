/** Asks the worker that has the connection, and waits for the answer without letting anything else happen on this thread. */
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Answer, Request, WorkerData } from './messages.ts';
import { WORKER_TIMEOUT_MS } from './timeouts.ts';

export class BlockingWorker {
  readonly #worker: Worker;
  readonly #port;
  readonly #answers = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #state: 'open' | 'stuck' | 'closed' = 'open';

  constructor(url: string) {
    const { port1, port2 } = new MessageChannel();
    const data: WorkerData = { url, port: port2, answers: this.#answers.buffer };
    this.#port = port1;
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: data,
      execArgv: [], // whatever this process was started with is about its own program
      transferList: [port2],
    });
    // What it dies of shows as a missing answer.
    this.#worker.on('error', () => {
      this.#state = 'stuck';
    });
    this.#worker.unref();
    this.#port.unref();
  }

  /** @throws SkerryError `internal` when the worker gives no answer, not even that there is none; it is not asked again */
  ask(request: Request): Answer {
    if (this.#state !== 'open') throw stuck(this.#state);
    const before = Atomics.load(this.#answers, 0);
    this.#port.postMessage(request);
    Atomics.wait(this.#answers, 0, before, WORKER_TIMEOUT_MS);
    // Posted before the counter went up.
    const received = receiveMessageOnPort(this.#port);
    if (!received) {
      this.#state = 'stuck';
      throw stuck(this.#state);
    }
    return received.message;
  }

  close(): void {
    if (this.#state === 'open') this.ask({ kind: 'close' });
    this.#state = 'closed';
    this.#port.close();
    void this.#worker.terminate();
  }
}

const stuck = (state: string) => new SkerryError('internal', `The thread that has the database is ${state}.`);
