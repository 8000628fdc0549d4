/** An interpreter in a sandbox: what is said to it, and what it tells. */
import type { CodeFailure } from './code.ts';
import type { Options, Process } from './process.ts';

/** What a piece of code did, in order. */
export type KernelEvent =
  | { readonly kind: 'stdout'; readonly text: string }
  | { readonly kind: 'stderr'; readonly text: string }
  | { readonly kind: 'result'; readonly data: Readonly<Record<string, string>> }
  | ({ readonly kind: 'error' } & CodeFailure);

export interface Kernel {
  readonly process: Process;
  /** Resolves once it takes code. */
  ready(): Promise<void>;
  /** Runs one piece of code, after the one before has ended; ends with it. @throws KernelEnded when the interpreter ends first */
  run(id: number, code: string): AsyncGenerator<KernelEvent, void>;
  /** Breaks off the piece of that number. */
  interrupt(id: number, options?: Options): Promise<void>;
}

/** The interpreter is gone. */
export class KernelEnded extends Error {
  override readonly name = 'KernelEnded';
}

type Message = { readonly id: number } & (
  | KernelEvent
  | { readonly kind: 'ready' }
  | { readonly kind: 'done' }
);

/** One of our own programs, that reads requests and writes events, a line of JSON each. */
export class MessageKernel implements Kernel {
  readonly process: Process;
  readonly #messages: AsyncGenerator<string, void>;
  readonly #request: (id: number, code: string) => object;
  readonly #interruptedBy: 'signal' | 'message';

  constructor(
    process: Process,
    request: (id: number, code: string) => object,
    interruptedBy: 'signal' | 'message',
  ) {
    this.process = process;
    this.#messages = process.stdout.lines();
    this.#request = request;
    this.#interruptedBy = interruptedBy;
  }

  async ready(): Promise<void> {
    const { kind } = await this.#next();
    if (kind !== 'ready') throw new KernelEnded(`it began with ${kind}`);
  }

  async *run(id: number, code: string): AsyncGenerator<KernelEvent, void> {
    await this.process.stdin.write(`${JSON.stringify(this.#request(id, code))}\n`);
    for (;;) {
      const message = await this.#next();
      if (message.kind !== 'done' && message.kind !== 'ready') yield message;
      else if (message.id === id) return;
    }
  }

  async interrupt(id: number, options: Options = {}): Promise<void> {
    if (this.#interruptedBy === 'signal') await this.process.kill('SIGINT', options);
    else await this.process.stdin.write(`${JSON.stringify({ interrupt: id })}\n`, options);
  }

  async #next(): Promise<Message> {
    const { done, value } = await this.#messages.next();
    if (done) throw new KernelEnded();
    return JSON.parse(value) as Message; // our own program's, or else what the code made of it
  }
}
