/** Connections to the agent of one Pod, through the link beside it. */
import type { Duplex } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import { delay } from '../../platform/wait.ts';
import { type Credentials, linkName } from './credentials.ts';
import { LINK_PORT } from './pod-spec.ts';

/** A link that starts is there within a moment, a network that broke within a longer one. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 1000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Of silence, after which the other end is asked for a sign each second; ten that are not answered break the connection. */
const SILENCE_MS = 5_000;

export class Link {
  readonly #pod: string;
  readonly #port: number;
  readonly #client: Credentials['client'];
  readonly #open = new Set<TLSSocket>();
  /** On which the agent has greeted. */
  #greeted: TLSSocket | undefined;

  /** @param port for tests; that of all Pods by default */
  constructor(pod: string, client: Credentials['client'], port = LINK_PORT) {
    this.#pod = pod;
    this.#port = port;
    this.#client = client;
  }

  /** A connection on which nothing was read yet; tries until there is one. @throws the signal's reason */
  async dial(address: string, signal: AbortSignal): Promise<Duplex> {
    const greeted = this.#greeted;
    this.#greeted = undefined;
    if (greeted && !greeted.destroyed && greeted.readable) return greeted;
    return this.#connectAgain(address, signal);
  }

  /** Resolves once the agent has greeted. @throws the signal's reason */
  async awaitAgent(address: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      const socket = await this.#connectAgain(address, signal);
      if (await greets(socket, signal)) {
        this.#greeted = socket;
        return;
      }
    }
  }

  /** @param lost called when the connection on which the agent greeted breaks, before or after somebody took it */
  whenLost(lost: () => void): void {
    const greeted = this.#greeted;
    if (!greeted || greeted.destroyed) lost();
    else greeted.once('close', lost);
  }

  /** Breaks all. */
  close(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async #connectAgain(address: string, signal: AbortSignal): Promise<TLSSocket> {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
      try {
        return await this.#connect(address, signal);
      } catch {
        signal.throwIfAborted();
        await delay(pause, signal);
      }
    }
  }

  #connect(host: string, signal: AbortSignal): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const servername = linkName(this.#pod);
      const socket = connect({ host, port: this.#port, servername, minVersion: 'TLSv1.3', ...this.#client });
      this.#open.add(socket);
      const settle = (outcome: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        outcome();
      };
      const fail = (error: unknown) => {
        socket.destroy();
        settle(() => reject(error));
      };
      const onAbort = () => fail(signal.reason);
      const timer = setTimeout(() => fail(new Error('it does not answer')), CONNECT_TIMEOUT_MS);
      socket.on('error', fail); // once it was handed out, 'close' follows and is what counts
      socket.once('close', () => {
        this.#open.delete(socket);
        fail(new Error('it closed the connection'));
      });
      socket.once('secureConnect', () => {
        socket.setNoDelay(true);
        socket.setKeepAlive(true, SILENCE_MS);
        settle(() => resolve(socket));
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

/** Whether anything comes before it closes. */
function greets(socket: TLSSocket, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void) => {
      socket.off('readable', onReadable);
      socket.off('close', onClose);
      signal.removeEventListener('abort', onAbort);
      outcome();
    };
    const onReadable = () => {
      if (socket.readableLength > 0) settle(() => resolve(true));
    };
    const onClose = () => settle(() => resolve(false));
    const onAbort = () => {
      socket.destroy();
      settle(() => reject(signal.reason));
    };
    socket.on('readable', onReadable).once('close', onClose);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    if (socket.destroyed) onClose();
    else onReadable();
  });
}
