/**
 * A shell that lives on: one interactive bash, which reads what it is to do from its input. An interactive one goes on with its next line when it is interrupted. What code
 * prints is the shell's own output; a mark in both streams says that it has ended.
 */
import { type Kernel, KernelEnded, type KernelEvent } from './kernel.ts';
import type { Options, OutputStream, Process } from './process.ts';
import { randomUuid } from './random-uuid.ts';

/** Without the files that a person's shell begins with, and without editing of lines. */
export const BASH_KERNEL = ['bash', '--norc', '--noprofile', '--noediting', '-i'] as const;
/** Before the first mark its prompts and warnings are passed over. */
const SETTINGS = "PS1='' PS2='' PROMPT_COMMAND=; unset HISTFILE; set +o history +m; shopt -u huponexit";

export class BashKernel implements Kernel {
  readonly process: Process;
  readonly #out: MarkedStream;
  readonly #err: MarkedStream;

  constructor(process: Process) {
    this.process = process;
    this.#out = new MarkedStream(process.stdout);
    this.#err = new MarkedStream(process.stderr);
  }

  async ready(): Promise<void> {
    for await (const _ of this.#events(`${SETTINGS}\n`)) {
      // Its greeting.
    }
  }

  async *run(_id: number, code: string): AsyncGenerator<KernelEvent, void> {
    const bytes = [...new TextEncoder().encode(code)];
    const escaped = bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
    // What is on a line with code is passed over when that is interrupted; the next line is not. Programs of the code get no input, which is ours.
    const status = yield* this.#events(
      `printf -v __code %b '${escaped}'\n__status=130\n(exit 0); eval "$__code" </dev/null; __status=$?\n`,
    );
    if (status === '0') return;
    const message = `The last command ended with exit code ${status}.`;
    yield { kind: 'error', name: 'ExitStatus', message, traceback: message };
  }

  async interrupt(_id: number, options: Options = {}): Promise<void> {
    await this.process.kill('SIGINT', options);
  }

  /** What comes until lines are done; returns the last status. */
  async *#events(lines: string): AsyncGenerator<KernelEvent, string> {
    const mark = randomUuid();
    await this.process.stdin.write(
      `${lines}printf '%s:%s\\n' '${mark}' "$__status"; printf '%s\\n' '${mark}' >&2; unset __code\n`,
    );
    const kinds = { stdout: this.#out.until(mark), stderr: this.#err.until(mark) };
    const next = (kind: 'stdout' | 'stderr') => kinds[kind].next().then((step) => ({ kind, step }));
    const pending = { stdout: next('stdout'), stderr: next('stderr') };
    let status = '';
    for (let left = 2; left > 0; ) {
      const { kind, step } = await Promise.race(Object.values(pending));
      if (step.done) {
        left--;
        pending[kind] = new Promise(() => {});
        if (kind === 'stdout') status = step.value;
      } else {
        pending[kind] = next(kind);
        yield { kind, text: step.value };
      }
    }
    return status;
  }
}

/** A stream in which lines say where something ends. */
class MarkedStream {
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = '';

  constructor(stream: OutputStream) {
    this.#pieces = stream[Symbol.asyncIterator]();
  }

  /** Text as it comes, up to the mark; returns what stands behind that on its line. @throws KernelEnded */
  async *until(mark: string): AsyncGenerator<string, string> {
    for (;;) {
      const at = this.#rest.indexOf(mark);
      const end = at < 0 ? -1 : this.#rest.indexOf('\n', at);
      if (end >= 0) {
        const before = this.#rest.slice(0, at);
        const behind = this.#rest.slice(at + mark.length, end);
        this.#rest = this.#rest.slice(end + 1);
        if (before !== '') yield before;
        return behind.replace(/^:/, '');
      }
      const sure = at >= 0 ? at : this.#rest.length - startOf(mark, this.#rest);
      const text = this.#rest.slice(0, sure);
      this.#rest = this.#rest.slice(sure);
      if (text !== '') yield text;
      const { done, value } = await this.#pieces.next();
      if (done) throw new KernelEnded();
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }
}

/** How much at the end of a text may be the start of a mark. */
function startOf(mark: string, text: string): number {
  let length = Math.min(mark.length - 1, text.length);
  while (length > 0 && !text.endsWith(mark.slice(0, length))) length--;
  return length;
}
