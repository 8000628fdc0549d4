/** Connects to a port of a sandbox for the clients of a tunnel, who often come before the server there listens. */
import type { Duplex } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import { Limiter } from '../platform/limiter.ts';
import { delay, unlessAborted } from '../platform/wait.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';

/** A connection that is being made is given this much longer: where hundreds are made at once, on a busy machine, it is none of theirs. */
const CONNECT_MS = 30_000;
/** Between two tries of whoever waits longest. */
const PAUSE_MS = 50;

export class Dialer {
  readonly #sandbox: Pick<Sandbox, 'connect'>;
  readonly #port: number;
  readonly #waitMs: number;
  /** Those who wait ask one after the other: a hundred of them are no more work than one. */
  readonly #turns = new Limiter(1);

  /** @param waitMs how long a connection waits for its server */
  constructor(sandbox: Pick<Sandbox, 'connect'>, port: number, waitMs: number) {
    this.#sandbox = sandbox;
    this.#port = port;
    this.#waitMs = waitMs;
  }

  /**
   * Waits for a sandbox that starts, and for its server to listen.
   * @throws SkerryError as `Sandbox.connect`, and `deadline-exceeded` when the sandbox has not started in time; the signal's reason
   */
  async dial(signal: AbortSignal): Promise<Duplex> {
    const untilMs = performance.now() + this.#waitMs;
    const limit = AbortSignal.timeout(this.#waitMs + CONNECT_MS);
    const either = AbortSignal.any([signal, limit]);
    let last: unknown = new SkerryError('deadline-exceeded', 'The sandbox has not started yet.');
    const attempt = () =>
      this.#sandbox.connect(this.#port, either).catch((error: unknown) => {
        if (!either.aborted) last = error;
        if (isRefused(error)) return undefined;
        throw error;
      });
    const turn = async () => {
      for (;;) {
        either.throwIfAborted();
        const stream = await attempt();
        if (stream) return stream;
        if (performance.now() >= untilMs) throw last;
        await delay(PAUSE_MS, either);
      }
    };
    const dialled = attempt().then((stream) => stream ?? this.#turns.run(turn));
    try {
      return await unlessAborted(dialled, either);
    } catch (error) {
      // It may succeed in the moment in which nobody waits any more.
      dialled.then(
        (stream) => stream.destroy(),
        () => {},
      );
      throw limit.aborted && !signal.aborted ? last : error;
    }
  }
}

const isRefused = (error: unknown): boolean =>
  error instanceof SkerryError && error.code === 'connection-refused';
