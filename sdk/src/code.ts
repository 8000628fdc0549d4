/** Code that runs in an interpreter that lives on: its variables are there the next time. */
import { SandboxEndedError, SkerryError } from './errors.ts';
import type { Options, Process } from './process.ts';
import { PYTHON_KERNEL } from './python-kernel.ts';
import type { Sandbox } from './sandbox.ts';

/** What is spoken. */
export type Language = 'python';

/** What an expression at the end, a figure or `display()` gave. */
export interface RichResult {
  /** As Python would print it. */
  readonly text: string | undefined;
  /** As HTML: a table of pandas, for instance. It is untrusted. */
  readonly html: string | undefined;
  readonly svg: string | undefined;
  /** Base64. */
  readonly png: string | undefined;
  /** All of it, by media type: text, or base64 where that is none. */
  readonly data: Readonly<Record<string, string>>;
}

/** An exception that ended the code. */
export interface CodeFailure {
  /** Its class: `ValueError`. */
  readonly name: string;
  readonly message: string;
  readonly traceback: string;
}

export interface CodeResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly results: readonly RichResult[];
  /** The text of the last result. */
  readonly text: string | undefined;
  /** Undefined when it ran to its end. */
  readonly error: CodeFailure | undefined;
}

export interface RunCodeOptions extends Options {
  /** Then it is interrupted, and its failure is a KeyboardInterrupt. */
  readonly timeoutMs?: number | undefined;
  /** Is told what the code prints as it does. */
  readonly onOutput?: ((stream: 'stdout' | 'stderr', text: string) => void) | undefined;
  /** Is told results as they come. */
  readonly onResult?: ((result: RichResult) => void) | undefined;
}

type KernelEvent = { readonly id: number } & (
  | { readonly kind: 'stdout' | 'stderr'; readonly text: string }
  | { readonly kind: 'result'; readonly data: Readonly<Record<string, string>> }
  | ({ readonly kind: 'error' } & CodeFailure)
  | { readonly kind: 'done' }
);

/** One interpreter. Code runs in it one piece after the other. */
export class CodeContext implements AsyncDisposable {
  readonly language: Language;
  readonly #kernel: Process;
  readonly #events: AsyncGenerator<string, void>;
  #next = 1;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(language: Language, kernel: Process) {
    this.language = language;
    this.#kernel = kernel;
    this.#events = kernel.stdout.lines();
  }

  /** @throws InvalidRequestError when the sandbox has no python3 */
  static async start(
    sandbox: Sandbox,
    language: Language,
    options: Options & { readonly cwd?: string } = {},
  ): Promise<CodeContext> {
    if (language !== 'python') throw new TypeError(`There is no ${language} to run: only python.`);
    const { signal, cwd } = options;
    signal?.throwIfAborted();
    const kernel = sandbox.exec(['python3', '-u', '-c', PYTHON_KERNEL], { stdin: 'open', cwd });
    await kernel.id();
    return new CodeContext(language, kernel);
  }

  /** Runs code, after what runs already. Its own failure is in the result. @throws SandboxEndedError, SkerryError when the interpreter ended */
  run(code: string, options: RunCodeOptions = {}): Promise<CodeResult> {
    const result = this.#last.then(() => this.#run(code, options));
    this.#last = result.catch(() => {});
    return result;
  }

  /** Breaks off what runs: its failure is a KeyboardInterrupt. Variables stay. */
  async interrupt(options: Options = {}): Promise<void> {
    await this.#kernel.kill('SIGINT', options);
  }

  /** Ends the interpreter. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kernel.kill('SIGKILL').catch((error: unknown) => {
      if (!(error instanceof SandboxEndedError)) throw error;
    });
  }

  async #run(code: string, options: RunCodeOptions): Promise<CodeResult> {
    const { signal, timeoutMs, onOutput, onResult } = options;
    signal?.throwIfAborted();
    const id = this.#next++;
    const interrupt = () => void this.interrupt().catch(() => {}); // it has ended then, which is told below
    const timer = timeoutMs === undefined ? undefined : setTimeout(interrupt, timeoutMs);
    signal?.addEventListener('abort', interrupt, { once: true });
    const text = { stdout: '', stderr: '' };
    const results: RichResult[] = [];
    let error: CodeFailure | undefined;
    try {
      await this.#kernel.stdin.write(`${JSON.stringify({ id, code })}\n`);
      for (;;) {
        const event = await this.#event();
        if (event.kind === 'stdout' || event.kind === 'stderr') {
          text[event.kind] += event.text;
          onOutput?.(event.kind, event.text);
        } else if (event.kind === 'result') {
          const result = toResult(event.data);
          results.push(result);
          onResult?.(result);
        } else if (event.kind === 'error') {
          const { name, message, traceback } = event;
          error = { name, message, traceback };
        } else if (event.id === id) break;
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', interrupt);
    }
    signal?.throwIfAborted();
    return { ...text, results, text: results.at(-1)?.text, error };
  }

  async #event(): Promise<KernelEvent> {
    const { done, value } = await this.#events.next();
    if (!done) return JSON.parse(value) as KernelEvent;
    const { exitCode } = await this.#kernel.wait();
    throw new SkerryError(
      {
        code: 'interpreter-ended',
        message: `The interpreter ended with exit code ${exitCode}.`,
        suggestion: 'Start another context; its variables are gone.',
        retryable: false,
      },
      { status: 0 },
    );
  }
}

const toResult = (data: Readonly<Record<string, string>>): RichResult => ({
  text: data['text/plain'],
  html: data['text/html'],
  svg: data['image/svg+xml'],
  png: data['image/png'],
  data,
});
