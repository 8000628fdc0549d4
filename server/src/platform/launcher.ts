/**
 * Has commands started by a small process (`launcher/`), because a fork of this one is expensive
 * ([decision 0014](../../../docs/decisions/0014-a-small-process-starts-commands.md)). It is started with the first command, and again with the next
 * one when it was killed. Where it cannot be started, commands are children of this process.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Stream } from 'node:stream';
import { getSystemErrorName } from 'node:util';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import {
  type Answer,
  AnswerReader,
  inputFrame,
  killFrame,
  MAX_FRAME_BYTES,
  PIECE_BYTES,
  PROTOCOL,
  startFrame,
} from './launcher-frames.ts';
import {
  type Ending,
  killGroup,
  ownChildren,
  type StartedCommand,
  type Starter,
  type StartRequest,
} from './starter.ts';

export interface LauncherOptions {
  /** The program of `launcher/`. */
  readonly program: string;
  /** Whose it is, for people who look at a list of processes. */
  readonly whose: string;
  /** The environment of the program itself. */
  readonly env: Readonly<Record<string, string>>;
  readonly logger: Pick<Logger, 'warn'>;
}

export class Launcher implements Starter {
  readonly #options: LauncherOptions;
  #process: LauncherProcess | undefined;
  /** Set once it could not be started, and by `close`: it is not tried again. */
  #isUnused = false;

  constructor(options: LauncherOptions) {
    this.#options = options;
  }

  /** The id of its process, if there is one now. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  start(request: StartRequest): StartedCommand {
    if (this.#isUnused) return ownChildren.start(request);
    this.#process ??= this.#open();
    return this.#process?.start(request) ?? ownChildren.start(request);
  }

  /** Ends the process, once the commands that it runs have ended. Waits for that only when there are none. Later commands are children of this process. */
  async close(): Promise<void> {
    this.#isUnused = true;
    await this.#process?.close();
  }

  #open(): LauncherProcess | undefined {
    const { program, whose, env } = this.#options;
    try {
      const child = spawn(program, [PROTOCOL, whose], { env, detached: true });
      return new LauncherProcess(child, (isUseless, words) => {
        this.#process = undefined;
        if (isUseless) this.#giveUp(words);
        else if (!this.#isUnused) this.#options.logger.warn({ words }, 'launcher.ended');
      });
    } catch (error) {
      this.#giveUp(String(error));
      return undefined;
    }
  }

  #giveUp(words: string): void {
    this.#isUnused = true;
    this.#options.logger.warn({ program: this.#options.program, words }, 'launcher.cannot-start');
  }
}

/** A command on its way. */
interface Entry {
  readonly request: StartRequest;
  readonly ending: PromiseWithResolvers<Ending>;
  pid?: number;
  isKilled: boolean;
  /** What is left of its input. */
  input: Uint8Array | undefined;
  /** What starts and kills it when the launcher turned out not to work. */
  replacement?: StartedCommand;
}

/** One process of the program, from its start to its end. Nothing of it keeps this process from ending while no command runs. */
class LauncherProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #onEnd: (isUseless: boolean, words: string) => void;
  readonly #ended = Promise.withResolvers<void>();
  readonly #entries = new Map<number, Entry>();
  readonly #answers = new AnswerReader();
  #lastId = 0;
  #isReady = false;
  #isClosing = false;
  #hasEnded = false;
  /** The end of what it said about itself. */
  #words = '';

  /** `onEnd` is told whether another one would not do any better, and its words. */
  constructor(child: ChildProcessWithoutNullStreams, onEnd: (isUseless: boolean, words: string) => void) {
    this.#child = child;
    this.#onEnd = onEnd;
    child.once('error', (error) => this.#end(true, String(error)));
    child.once('close', (code, signal) => {
      const isUseless = !this.#isReady && signal !== 'SIGKILL'; // somebody's, or for lack of memory
      this.#end(isUseless, `ended with ${signal ?? code} ${this.#words}`.trim());
    });
    child.stdin.on('error', () => {}); // its end tells
    child.stdout.on('data', (chunk: Buffer) => this.#hear(chunk));
    child.stderr.on('data', (chunk: Buffer) => {
      this.#words = `${this.#words}${chunk}`.slice(-2000);
    });
    this.#hold(false);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  start(request: StartRequest): StartedCommand {
    const id = this.#nextId();
    const start = startFrame(id, request);
    if (start.length > MAX_FRAME_BYTES) return ownChildren.start(request); // which says what is wrong
    const input = request.input === undefined ? undefined : Buffer.from(request.input);
    const entry: Entry = { request, ending: Promise.withResolvers(), isKilled: false, input };
    this.#entries.set(id, entry);
    this.#hold(true);
    this.#child.stdin.write(start);
    this.#sendInput(id, entry);
    return { ended: entry.ending.promise, kill: () => this.#kill(id, entry) };
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#entries.size > 0) return;
    this.#hold(true); // somebody waits
    this.#child.stdin.end();
    await this.#ended.promise;
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0;
    while (this.#entries.has(this.#lastId));
    return this.#lastId;
  }

  #sendInput(id: number, entry: Entry): void {
    if (entry.input === undefined) return;
    const piece = entry.input.subarray(0, PIECE_BYTES);
    const rest = entry.input.subarray(PIECE_BYTES);
    entry.input = rest.length > 0 ? rest : undefined;
    this.#child.stdin.write(inputFrame(id, piece, rest.length === 0));
  }

  #kill(id: number, entry: Entry): void {
    entry.isKilled = true;
    if (entry.replacement) entry.replacement.kill();
    else if (this.#entries.has(id)) this.#child.stdin.write(killFrame(id));
  }

  #hear(chunk: Buffer): void {
    try {
      for (const [id, answer] of this.#answers.read(chunk)) {
        if (answer.kind === 'ready') this.#isReady = true;
        const entry = this.#entries.get(id);
        if (entry) this.#take(id, entry, answer);
      }
    } catch (error) {
      this.#words = String(error);
      this.#child.kill('SIGKILL');
    }
  }

  #take(id: number, entry: Entry, answer: Answer): void {
    switch (answer.kind) {
      case 'ready':
        break;
      case 'started':
        entry.pid = answer.pid;
        break;
      case 'stdout':
      case 'stderr':
        entry.request.onOutput(answer.chunk, answer.kind);
        break;
      case 'want':
        this.#sendInput(id, entry);
        break;
      case 'failed':
        this.#forget(id);
        entry.ending.reject(startError(entry.request.argv[0], answer.errno));
        break;
      case 'exit':
        this.#forget(id);
        entry.ending.resolve(answer.ending);
        break;
      default:
        answer satisfies never;
    }
  }

  #forget(id: number): void {
    this.#entries.delete(id);
    if (this.#entries.size > 0) return;
    this.#hold(false);
    if (this.#isClosing) this.#child.stdin.end();
  }

  /** Keeps this process from ending by itself, or does not. */
  #hold(held: boolean): void {
    const { stdin, stdout, stderr } = this.#child;
    const handles: readonly { ref(): void; unref(): void }[] = [
      this.#child,
      ...([stdin, stdout, stderr] as Stream[] as Socket[]), // pipes of a child are sockets
    ];
    for (const handle of handles) held ? handle.ref() : handle.unref();
  }

  /** Nobody looks after its commands any more: they are ended, so that whoever tries again finds none of the first try. One that never worked has started none. */
  #end(isUseless: boolean, words: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#onEnd(isUseless, words);
    for (const entry of this.#entries.values()) {
      if (this.#isReady) {
        killGroup(entry.pid);
        entry.ending.reject(lost(entry.request.argv));
      } else this.#replace(entry);
    }
    this.#entries.clear();
    this.#ended.resolve();
  }

  #replace(entry: Entry): void {
    try {
      entry.replacement = ownChildren.start(entry.request);
      if (entry.isKilled) entry.replacement.kill();
      entry.ending.resolve(entry.replacement.ended);
    } catch (error) {
      entry.ending.reject(error);
    }
  }
}

const lost = (argv: readonly [string, ...string[]]): SkerryError =>
  new SkerryError('internal', `${argv[0]} was cut off: the process that starts commands was killed`, {
    details: { argv },
  });

/** The error that `node:child_process` gives. */
function startError(file: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  const syscall = `spawn ${file}`;
  return Object.assign(new Error(`${syscall} ${code}`), { errno: -errno, code, syscall, path: file });
}
