/** Follows what an audited sandbox does on its network, for its log. */
import type { Instance, NetworkEvent } from '../engines/engine.ts';
import { repeat } from '../platform/repeat.ts';
import type { Logger } from '../telemetry/logger.ts';

const INTERVAL_MS = 1_000;
/** Of one sandbox while one server looks after it; what comes then is counted alone. */
const MAX_EVENTS = 10_000;

export class NetworkAudit {
  readonly #instance: Pick<Instance, 'networkEvents'>;
  readonly #keep: (event: NetworkEvent) => void;
  readonly #stop: () => void;
  #kept = 0;
  #beyond = 0;

  /** @param keep takes each event, in order */
  constructor(
    instance: Pick<Instance, 'networkEvents'>,
    keep: (event: NetworkEvent) => void,
    logger: Pick<Logger, 'error'>,
  ) {
    this.#instance = instance;
    this.#keep = keep;
    const chore = { name: 'network-audit', run: () => this.#take() };
    // What is not taken before this server ends, the next one takes.
    this.#stop = repeat(INTERVAL_MS, [chore], logger, { keepsRunning: false });
  }

  /** Takes what is left. Call when the instance is destroyed, or is left to another server. */
  async end(): Promise<void> {
    this.#stop();
    await this.#take();
    if (this.#beyond > 0) this.#keep({ timeMs: Date.now(), lost: this.#beyond });
    this.#beyond = 0;
  }

  async #take(): Promise<void> {
    for (const event of await this.#instance.networkEvents()) {
      if (this.#kept++ < MAX_EVENTS) this.#keep(event);
      else this.#beyond++;
    }
  }
}
