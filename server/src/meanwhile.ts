/** What a server does with who comes to it while another leads: it has that one answer all, and where it can, keeps sandboxes itself (`start-member.ts`). */
import type { Config } from './config/config.ts';
import { repeat } from './platform/repeat.ts';
import { type MemberParts, startMember } from './start-member.ts';
import type { Logger } from './telemetry/logger.ts';
import { type Forwarding, forwardConnections } from './transport/forward-connections.ts';

/** Between tries to keep sandboxes. */
const JOIN_MS = 5_000;

export class Meanwhile {
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #parts: Omit<MemberParts, 'taking'>;
  #forwarding: Forwarding | undefined;
  /** How to stop keeping sandboxes. */
  #leave: (() => Promise<void>) | undefined;
  #joining: Promise<void> | undefined;
  #stopJoining = () => {};

  constructor(config: Config, logger: Logger, parts: Omit<MemberParts, 'taking'>) {
    this.#config = config;
    this.#logger = logger;
    this.#parts = parts;
  }

  /** Takes what comes. Resolves once it keeps sandboxes, or cannot for now. */
  async begin(): Promise<void> {
    this.#forward();
    if (this.#config.engine === 'local') return; // those of a machine are where the machine is
    this.#stopJoining = repeat(JOIN_MS, [{ name: 'join', run: () => this.#join() }], this.#logger);
    await this.#join();
  }

  /** Another server may lead now. */
  look(): void {
    this.#forwarding?.cutOthers();
  }

  /** Lets go of what it keeps, and of who is connected: whoever comes waits. */
  async end(): Promise<void> {
    this.#stopJoining();
    await this.#joining;
    await this.#leave?.();
    this.#leave = undefined;
    this.#forwarding?.stop();
    this.#forwarding = undefined;
  }

  #forward(): void {
    const { listener, leader: peer } = this.#parts;
    const { plaintextFrom } = this.#config;
    this.#forwarding = forwardConnections({ listener, plaintextFrom, peer, logger: this.#logger });
  }

  async #join(): Promise<void> {
    if (this.#leave || this.#joining || !this.#parts.leader()) return;
    this.#joining = this.#tryToJoin();
    await this.#joining;
    this.#joining = undefined;
  }

  /** Never rejects. */
  async #tryToJoin(): Promise<void> {
    const taking = () => {
      this.#forwarding?.stop();
      this.#forwarding = undefined;
    };
    try {
      this.#leave = await startMember(this.#config, this.#logger, { ...this.#parts, taking });
    } catch (err) {
      this.#logger.warn({ err }, 'server.keeps-no-sandboxes');
      if (!this.#forwarding) this.#forward();
    }
  }
}
