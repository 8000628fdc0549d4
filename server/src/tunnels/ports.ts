/** Ports of the machine for tunnels that have one each. */
import type { Socket } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';
import { type ListenerOptions, listen, listenAgain } from './listener.ts';
import type { PortRange } from './port-range.ts';

export interface OpenedPort {
  readonly port: number;
  /** Takes no more connections, and gives the port back. */
  close(): void;
}

export interface PortsOptions extends Omit<ListenerOptions, 'port' | 'onConnection'> {
  readonly range: PortRange;
}

/** How many ports that other programs have are passed over. */
const MOST_PASSED_OVER = 100;

export class Ports {
  readonly #options: PortsOptions;

  constructor(options: PortsOptions) {
    this.#options = options;
  }

  /**
   * Listens on a port that is free, or on the one that clients know already, as soon as it is.
   * @throws SkerryError `resource-exhausted` when none is left; `unavailable`
   */
  async open(known: number | undefined, onConnection: (socket: Socket) => void): Promise<OpenedPort> {
    const { range } = this.#options;
    if (known !== undefined && range.claim(known)) {
      const listener = await listenAgain({ ...this.#options, port: known, onConnection });
      return this.#opened(known, listener.close);
    }
    for (let passedOver = 0; ; passedOver++) {
      const port = range.take();
      try {
        const listener = await listen({ ...this.#options, port, onConnection });
        return this.#opened(port, listener.close);
      } catch (error) {
        range.free(port);
        if (!isTaken(error) || passedOver === MOST_PASSED_OVER) throw error;
      }
    }
  }

  #opened(port: number, close: () => void): OpenedPort {
    return {
      port,
      close: () => {
        close();
        this.#options.range.free(port);
      },
    };
  }
}

const isTaken = (error: unknown): boolean =>
  error instanceof SkerryError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE';
