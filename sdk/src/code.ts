/** Code that runs in an interpreter that lives on: its variables are there the next time. */
import { BASH_KERNEL, BashKernel } from './bash-kernel.ts';
import { ConflictError, InvalidRequestError, SandboxEndedError, SkerryError } from './core/errors.ts';
import { unlessAborted } from './core/wait.ts';
import { JAVASCRIPT_KERNEL } from './javascript-kernel.ts';
import { type Kernel, KernelEnded, MessageKernel } from './kernel.ts';
import type { Options, Process } from './process.ts';
import { PYTHON_KERNEL } from './python-kernel.ts';
import type { Sandbox } from './sandbox.ts';

/** What is spoken. */
export type Language = 'python' | 'javascript' | 'typescript' | 'bash';

/** A table of pandas, or a list of like objects of JavaScript: at most 10,000 rows. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

/** What an expression at the end, a figure or `display()` gave. */
export interface RichResult {
  /** As the language itself would print it. */
  readonly text: string | undefined;
  /** Lists, dictionaries and plain objects, where JSON can hold them. */
  readonly json: unknown;
  readonly table: Table | undefined;
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
  /** Its class: `ValueError`; `Interrupted` or `KeyboardInterrupt` when it was broken off; `ExitStatus` in bash. */
  readonly name: string;
  readonly message: string;
  readonly traceback: string;
}

/** What became of code. */
export interface CodeResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly results: readonly RichResult[];
  /** The text of the last result. */
  readonly text: string | undefined;
  /** Undefined when it ran to its end. */
  readonly error: CodeFailure | undefined;
}

/** For how long code may run, and who is told what it prints and gives as it does. */
export interface RunCodeOptions extends Options {
  /** Then it is interrupted, as by `CodeContext.interrupt`. */
  readonly timeoutMs?: number | undefined;
  /** Is told what the code prints as it does. */
  readonly onOutput?: ((stream: 'stdout' | 'stderr', text: string) => void) | undefined;
  /** Is told results as they come. */
  readonly onResult?: ((result: RichResult) => void) | undefined;
}

interface Interpreter {
  /** What runs it, which the image must have. */
  readonly program: string;
  /** Names of images that have it. */
  readonly images: string;
  readonly argv: readonly string[];
  readonly kernel: (process: Process) => Kernel;
}

const node = (language: string, images: string): Interpreter => ({
  program: 'node',
  images,
  argv: ['node', '-e', JAVASCRIPT_KERNEL, language],
  kernel: (process) => new MessageKernel(process, (id, code) => ({ id, code, language }), 'message'),
});

const interpreters: Readonly<Record<Language, Interpreter>> = {
  python: {
    program: 'python3',
    images: 'python:3.12-slim, or the code-interpreter image (no image given)',
    argv: ['python3', '-u', '-c', PYTHON_KERNEL],
    kernel: (process) => new MessageKernel(process, (id, code) => ({ id, code }), 'signal'),
  },
  javascript: node('javascript', 'node:22, or the code-interpreter image (no image given)'),
  typescript: node('typescript', 'node:24, with Node 22.13 or later'),
  bash: {
    program: 'bash',
    images: 'python:3.12-slim and others of Debian; Alpine has it with `apk add bash`',
    argv: BASH_KERNEL,
    kernel: (process) => new BashKernel(process),
  },
};

/** Code that goes on for so long after an interrupt without a word is killed, together with its interpreter. */
const INTERRUPT_PATIENCE_MS = 5_000;
/** The same for code that goes on printing, or whose output of before is still coming. */
const MAX_INTERRUPT_PATIENCE_MS = 60_000;

/** One interpreter. Code runs in it one piece after the other. */
export class CodeContext implements AsyncDisposable {
  readonly language: Language;
  readonly #kernel: Kernel;
  #next = 1;
  #running: number | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #ended = false;
  /** Of code that was interrupted: when it is killed at the latest, and at the next silence. */
  #killAtMs: number | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;

  private constructor(language: Language, kernel: Kernel) {
    this.language = language;
    this.#kernel = kernel;
  }

  /** @throws InvalidRequestError when the sandbox has no such interpreter, saying which images have it */
  static async start(
    sandbox: Sandbox,
    language: Language,
    options: Options & { readonly cwd?: string } = {},
  ): Promise<CodeContext> {
    const interpreter = interpreters[language];
    if (!interpreter) {
      const known = Object.keys(interpreters).join(', ');
      throw invalid('unknown-language', `There is no ${language} to run.`, `Use one of ${known}.`);
    }
    const { signal, cwd } = options;
    signal?.throwIfAborted();
    const process = sandbox.exec(interpreter.argv, { stdin: 'open', cwd });
    const kernel = interpreter.kernel(process);
    try {
      await unlessAborted(
        process.id().then(() => kernel.ready()),
        signal,
      );
    } catch (error) {
      if (signal?.aborted) process.kill('SIGKILL').catch(() => {}); // it never began, or has ended
      if (!isMissing(error)) throw error;
      throw invalid(
        'no-interpreter',
        `runCode for ${language} needs ${interpreter.program}, and this sandbox has none that will do.`,
        `Install it, or use an image that has it: ${interpreter.images}.`,
        error,
      );
    }
    return new CodeContext(language, kernel);
  }

  /** Whether the interpreter is gone: code cannot run in this any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Runs code, after what runs already. Its own failure is in the result. @throws SandboxEndedError, SkerryError when the interpreter ended */
  run(code: string, options: RunCodeOptions = {}): Promise<CodeResult> {
    const turn = this.#last;
    const result = turn.then(() => this.#run(code, options));
    this.#last = result.catch(() => {});
    return unlessAborted(turn, options.signal).then(() => result);
  }

  /** Breaks off what runs, whose failure says so. Variables stay, unless it goes on all the same: then the interpreter is killed. */
  async interrupt(options: Options = {}): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    await this.#kernel.interrupt(running, options);
    this.#killAtMs ??= Date.now() + MAX_INTERRUPT_PATIENCE_MS;
    this.#wait();
  }

  /** Waits anew for what was interrupted to end. */
  #wait(): void {
    if (this.#killAtMs === undefined) return;
    const leftMs = Math.max(0, Math.min(INTERRUPT_PATIENCE_MS, this.#killAtMs - Date.now()));
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      this.#kernel.process.kill('SIGKILL').catch(() => {}); // it has ended then
    }, leftMs);
  }

  /** Ends the interpreter. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await this.#kernel.process.kill('SIGKILL').catch((error: unknown) => {
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
      this.#running = id;
      for await (const event of this.#kernel.run(id, code)) {
        this.#wait();
        if (event.kind === 'stdout' || event.kind === 'stderr') {
          text[event.kind] += event.text;
          onOutput?.(event.kind, event.text);
        } else if (event.kind === 'result') {
          const result = toResult(event.data);
          results.push(result);
          onResult?.(result);
        } else {
          const { name, message, traceback } = event;
          error = { name, message, traceback };
        }
      }
    } catch (thrown) {
      throw await this.#whyEnded(thrown);
    } finally {
      this.#running = undefined;
      clearTimeout(this.#deadline);
      this.#killAtMs = undefined;
      clearTimeout(timer);
      signal?.removeEventListener('abort', interrupt);
    }
    signal?.throwIfAborted();
    return { ...text, results, text: results.at(-1)?.text, error };
  }

  async #whyEnded(thrown: unknown): Promise<unknown> {
    // Input that is no longer read is how an interpreter's end shows as well.
    if (!(thrown instanceof KernelEnded) && !(thrown instanceof ConflictError)) return thrown;
    this.#ended = true;
    const { exitCode } = await this.#kernel.process.wait();
    return new SkerryError(
      {
        code: 'interpreter-ended',
        message: `The interpreter ended with exit code ${exitCode}.`,
        suggestion: 'Run code again, in another one; its variables are gone.',
        retryable: false,
      },
      { status: 0, cause: thrown },
    );
  }
}

/** No such program, or one that is too old and ended at once. */
const isMissing = (error: unknown): boolean =>
  error instanceof KernelEnded || (error instanceof InvalidRequestError && error.path === 'argv');

const invalid = (code: string, message: string, suggestion: string, cause?: unknown): InvalidRequestError =>
  new InvalidRequestError({ code, message, suggestion, retryable: false }, { status: 0, cause });

const toResult = (data: Readonly<Record<string, string>>): RichResult => ({
  text: data['text/plain'],
  json: parsed(data['application/json']),
  table: parsed(data['application/vnd.skerry.table+json']) as Table | undefined, // as our kernels make it, or else the code
  html: data['text/html'],
  svg: data['image/svg+xml'],
  png: data['image/png'],
  data,
});

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
