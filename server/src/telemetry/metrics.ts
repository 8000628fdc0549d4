/**
 * What the server tells Prometheus. Names follow https://prometheus.io/docs/practices/naming/; no label has a value that a client can choose. What calls are told of
 * is added to as they end; everything else is read when somebody asks.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { CallListener } from './calls.ts';
import type { Counts } from './counts.ts';

/** Seconds: calls take from a fraction of a millisecond to minutes. */
const CALL_SECONDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];
/** Seconds: starts, and their parts. */
const START_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Seconds: builds. */
const BUILD_SECONDS = [0.1, 1, 5, 15, 60, 300, 1800];
/** A delay of the event loop is looked for so often, milliseconds: a timer that wakes an idle server. */
const LOOP_PRECISION_MS = 50;

/** One figure, or several that differ in their labels. */
type Figures = number | Iterable<readonly [labels: Readonly<Record<string, string>>, value: number]>;

interface Asked {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  /** Is asked when somebody wants to know. */
  readonly read: () => Figures | Promise<Figures>;
}

export class Metrics {
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #calls: Counter<'api' | 'method' | 'code'>;
  readonly #callSeconds: Histogram<'api' | 'method'>;
  readonly #starts: Histogram<'runtime' | 'warm'>;
  readonly #phases: Histogram<'runtime' | 'phase'>;
  readonly #builds: Histogram<'outcome'>;
  readonly #ends: Counter<'reason'>;

  constructor(counts: Counts) {
    const registers = [this.#registry];
    this.contentType = this.#registry.contentType;
    this.#calls = new Counter({
      name: 'skerry_calls_total',
      help: 'Calls of the API that are over, streams included.',
      labelNames: ['api', 'method', 'code'],
      registers,
    });
    this.#callSeconds = new Histogram({
      name: 'skerry_call_duration_seconds',
      help: 'How long calls took; streams and waits last as long as their clients want.',
      labelNames: ['api', 'method'],
      buckets: CALL_SECONDS,
      registers,
    });
    this.#starts = new Histogram({
      name: 'skerry_sandbox_start_duration_seconds',
      help: 'From the create to the moment in which the entrypoint ran.',
      labelNames: ['runtime', 'warm'],
      buckets: START_SECONDS,
      registers,
    });
    this.#phases = new Histogram({
      name: 'skerry_sandbox_start_phase_duration_seconds',
      help: 'Parts of starts, which may go on side by side.',
      labelNames: ['runtime', 'phase'],
      buckets: START_SECONDS,
      registers,
    });
    this.#builds = new Histogram({
      name: 'skerry_image_build_duration_seconds',
      help: 'Image builds that are over.',
      labelNames: ['outcome'],
      buckets: BUILD_SECONDS,
      registers,
    });
    this.#ends = new Counter({
      name: 'skerry_sandboxes_ended_total',
      help: 'Sandboxes that ended, by why.',
      labelNames: ['reason'],
      registers,
    });
    const counted = (name: string, help: string, read: () => number) =>
      this.counter({ name: `skerry_${name}_total`, help, read });
    counted('execs', 'Processes that clients started in sandboxes.', () => counts.execs);
    counted('process_output_bytes', 'What programs in sandboxes wrote.', () => counts.outputBytes);
    counted('process_input_bytes', 'What programs in sandboxes were given to read.', () => counts.inputBytes);
    counted('warm_hits', 'Starts that were given a sandbox that waited.', () => counts.warmHits);
    counted('warm_misses', 'Starts that found none waiting.', () => counts.warmMisses);
  }

  /** Adds those of the process: memory, processor time, delays of the event loop. */
  watchProcess(): void {
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: LOOP_PRECISION_MS });
  }

  readonly onCall: CallListener = ({ api, method, status, durationMs }) => {
    this.#calls.inc({ api, method, code: status });
    this.#callSeconds.observe({ api, method }, durationMs / 1000);
  };

  started(start: {
    readonly runtime: string;
    readonly waited: boolean;
    readonly ms: number;
    readonly phases: Readonly<Record<string, number>>;
  }): void {
    const { runtime } = start;
    this.#starts.observe({ runtime, warm: String(start.waited) }, start.ms / 1000);
    for (const [phase, ms] of Object.entries(start.phases))
      this.#phases.observe({ runtime, phase }, ms / 1000);
  }

  built(outcome: string, durationMs: number): void {
    this.#builds.observe({ outcome }, durationMs / 1000);
  }

  ended(reason: string): void {
    this.#ends.inc({ reason });
  }

  gauge({ name, help, labels = [], read }: Asked): void {
    new Gauge({
      ...{ name, help, labelNames: labels, registers: [this.#registry] },
      async collect() {
        this.reset();
        for (const [of, value] of listed(await read())) this.set(of, value);
      },
    });
  }

  /** What `read` gives never gets less. */
  counter({ name, help, labels = [], read }: Asked): void {
    new Counter({
      ...{ name, help, labelNames: labels, registers: [this.#registry] },
      async collect() {
        this.reset();
        for (const [of, value] of listed(await read())) this.inc(of, value);
      },
    });
  }

  /** All of them in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

const listed = (figures: Figures) => (typeof figures === 'number' ? [[{}, figures] as const] : figures);
