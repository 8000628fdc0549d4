/** The log of a build whose stages are built at once: it reads as if one came after the other. */
import type { BuildLog } from '../build-log.ts';
import type { OutputSink } from '../output-sink.ts';

/** What a stage may have to say, in characters, before it does so out of its turn. */
const MAX_WAITING = 4 << 20;

/** Numbers the steps in the order in which the log has them. */
export class StepCount {
  #number = 0;
  #all: number;

  constructor(all: number) {
    this.#all = all;
  }

  add(more: number): void {
    this.#all += more;
  }

  /** As in `3/8`. */
  next(): string {
    return `${++this.#number}/${this.#all}`;
  }
}

/** What one stage has to say, which waits until it is its turn. */
export class StageLog {
  readonly #log: BuildLog;
  /** Undefined: it is its turn. */
  #waiting: (() => void)[] | undefined = [];
  #waitingLength = 0;

  constructor(log: BuildLog) {
    this.#log = log;
  }

  /** @see BuildLog.say; what depends on what comes before it is a function */
  say(text: string | (() => string)): void {
    this.#write(() => this.#log.say(typeof text === 'string' ? text : text()), 1);
  }

  /** @see BuildLog.output */
  output(stream: 'stdout' | 'stderr'): OutputSink {
    return this.#log.output(stream, (write, length) => this.#write(write, length));
  }

  redact(text: string): string {
    return this.#log.redact(text);
  }

  open(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const write of waiting) write();
  }

  #write(write: () => void, length: number): void {
    if (!this.#waiting) write();
    else {
      this.#waiting.push(write);
      this.#waitingLength += length;
      if (this.#waitingLength > MAX_WAITING) this.open();
    }
  }
}

/** Those of all stages. */
export class StageLogs {
  readonly #logs: readonly StageLog[];
  readonly #ended = new Set<number>();
  #turn = 0;

  constructor(log: BuildLog, stages: number) {
    this.#logs = Array.from({ length: stages }, () => new StageLog(log));
    this.#logs[0]?.open();
  }

  of(stage: number): StageLog {
    const log = this.#logs[stage];
    if (!log) throw new RangeError(`there is no stage ${stage}`);
    return log;
  }

  /** It has nothing more to say. */
  end(stage: number): void {
    this.#ended.add(stage);
    while (this.#ended.has(this.#turn)) this.#logs[++this.#turn]?.open();
  }

  /** The build is over, whatever came of the stages. */
  endAll(): void {
    for (const log of this.#logs) log.open();
  }
}
