/** Connections from the server to ports of one sandbox: what tunnels stand on. */
import type { Duplex } from 'node:stream';
import type { AgentClient } from '../agent/agent-client.ts';
import type { PortDuplex } from '../agent/port-stream.ts';
import { SkerryError } from '../errors/skerry-error.ts';

/** The agent decides within 10 s; under gVisor on a busy machine its answer takes longer. */
const ANSWER_MS = 30_000;
/** At once. The agent has the same bound, but nobody has to believe an agent. */
const MOST_OPEN = 512;

/** What goes through the ports of a sandbox: by tunnels, connect tokens and interfaces, and so not by its own network. */
export interface PortTraffic {
  /** Connections at this moment, those that are being made too. */
  readonly connections: number;
  /** By the sandbox, without what carries it. Since this server has the sandbox. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export class PortConnections {
  readonly #hold: () => () => void;
  readonly #streams = new Set<PortDuplex>();
  /** Of those that are over. */
  readonly #carried = { receivedBytes: 0, sentBytes: 0 };
  #open = 0;

  /** @param hold keeps the sandbox's idle clock from running until the returned function is called */
  constructor(hold: () => () => void) {
    this.#hold = hold;
  }

  /** Those that are open or being made. */
  get open(): number {
    return this.#open;
  }

  get traffic(): PortTraffic {
    let { receivedBytes, sentBytes } = this.#carried;
    for (const { bytesTo, bytesFrom } of this.#streams) {
      receivedBytes += bytesTo;
      sentBytes += bytesFrom;
    }
    return { connections: this.#open, receivedBytes, sentBytes };
  }

  /** @see Sandbox.connect */
  async connect(agent: AgentClient, port: number, signal: AbortSignal): Promise<Duplex> {
    if (this.#open >= MOST_OPEN) {
      const message = `${MOST_OPEN} connections to ports of the sandbox are open already.`;
      throw new SkerryError('resource-exhausted', message);
    }
    const release = this.#hold();
    this.#open++;
    const over = () => {
      this.#open--;
      release();
    };
    const limit = AbortSignal.timeout(ANSWER_MS);
    try {
      const stream = await agent.connect(port, AbortSignal.any([signal, limit]));
      if (stream.errored) throw stream.errored; // it broke before anybody could be told
      this.#streams.add(stream);
      stream.once('close', () => {
        this.#streams.delete(stream);
        this.#carried.receivedBytes += stream.bytesTo;
        this.#carried.sentBytes += stream.bytesFrom;
        over();
      });
      return stream;
    } catch (error) {
      over();
      if (!limit.aborted || signal.aborted) throw error;
      throw new SkerryError('unavailable', 'The agent in the sandbox did not answer.', { cause: error });
    }
  }
}

/** @throws SkerryError `invalid-argument` */
export function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 1 && port <= 0xffff) return;
  throw new SkerryError('invalid-argument', `${port} is not a port: that is a number from 1 to 65535.`);
}
