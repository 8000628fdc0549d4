/** A sink that keeps everything and lets a test wait for what it expects. */
import type { SkerryError } from '../../errors/skerry-error.ts';
import type { AgentExit, OutputStream } from '../frames.ts';
import type { ProcessSink } from '../process-channel.ts';

const DEADLINE_MS = 60_000;

export class Collector implements ProcessSink {
  readonly chunks: Record<OutputStream, Buffer[]> = { stdout: [], stderr: [] };
  readonly lengths: Record<OutputStream, number> = { stdout: 0, stderr: 0 };
  readonly ended: Record<OutputStream, boolean> = { stdout: false, stderr: false };
  exitStatus: AgentExit | undefined;
  lostWith: SkerryError | undefined;
  /** Called instead of keeping bytes. */
  onWrite: ((stream: OutputStream, chunk: Buffer) => Promise<void> | undefined) | undefined;
  #checks: (() => void)[] = [];

  write(stream: OutputStream, offset: number, chunk: Buffer): Promise<void> | undefined {
    if (offset !== this.lengths[stream])
      throw new Error(`${stream}: ${offset} instead of ${this.lengths[stream]}`);
    this.lengths[stream] += chunk.length;
    const done = this.onWrite?.(stream, chunk);
    if (!this.onWrite) this.chunks[stream].push(Buffer.from(chunk));
    this.#changed();
    return done;
  }

  eof(stream: OutputStream, length: number): void {
    if (length !== this.lengths[stream]) throw new Error(`${stream} ends at ${length}`);
    this.ended[stream] = true;
    this.#changed();
  }

  exit(exit: AgentExit): void {
    this.exitStatus = exit;
    this.#changed();
  }

  lost(error: SkerryError): void {
    this.lostWith = error;
    this.#changed();
  }

  text(stream: OutputStream): string {
    return Buffer.concat(this.chunks[stream]).toString('utf8');
  }

  /** Waits until `condition` holds; it is looked at after every event. */
  until(what: string, condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`waited too long for ${what}: ${this.describe()}`)),
        DEADLINE_MS,
      );
      const check = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.#checks = this.#checks.filter((other) => other !== check);
        resolve();
      };
      this.#checks.push(check);
      check();
    });
  }

  /** Waits for the exit and both ends. */
  finished(): Promise<void> {
    const done = () => this.exitStatus !== undefined && this.ended.stdout && this.ended.stderr;
    return this.until('the end', () => done() || this.lostWith !== undefined).then(() => {
      if (!done()) throw this.lostWith;
    });
  }

  describe(): string {
    const { lengths, ended, exitStatus, lostWith } = this;
    return JSON.stringify({
      lengths,
      ended,
      exitStatus,
      lostWith: lostWith?.message,
      end: this.text('stdout').slice(-200),
    });
  }

  #changed(): void {
    for (const check of [...this.#checks]) check();
  }
}
