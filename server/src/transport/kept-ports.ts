/**
 * Ports that outlive this process: the supervisor keeps a copy of the socket that listens on one (`supervisor/src/kept.rs`), and the next server gets it. So
 * nobody else can take the port meanwhile, and who connects waits in its queue.
 */
import { closeSync } from 'node:fs';
import net from 'node:net';
import { withDeadline } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { FIRST_FD, inheritedSocket } from './inherited-socket.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** A supervisor that runs answers at once. */
const ANSWER_TIMEOUT_MS = 5_000;

export class KeptPorts {
  readonly #logger: Pick<Logger, 'warn'>;
  /** Descriptors of sockets that listen on a port since an earlier server. */
  readonly #left: Map<number, number>;
  /** To the supervisor, if there is one. */
  #channel: net.Socket | undefined;
  #allStay = false;
  /** Who waits for an answer about a port; undefined is a good one. */
  readonly #asked = new Map<number, (why: string | undefined) => void>();
  #heard = '';

  constructor(env: Environment, pid: number, logger: Pick<Logger, 'warn'>) {
    this.#logger = logger;
    this.#left = leftPorts(env, pid);
    const fd = env.SKERRY_KEEPER_FD;
    if (fd === undefined) return;
    this.#channel = new net.Socket({ fd: Number(fd), readable: true, writable: true });
    this.#channel.setEncoding('utf8').unref();
    this.#channel.on('data', (text: unknown) => this.#hear(String(text)));
    this.#channel.on('error', (err) => logger.warn({ err }, 'ports.not-kept'));
    this.#channel.on('close', () => {
      this.#channel = undefined;
      for (const answer of this.#asked.values()) answer('the supervisor is gone');
    });
  }

  /** The descriptor of the socket that listens on a port since an earlier server. It is the caller's from then on. */
  take(port: number): number | undefined {
    const fd = this.#left.get(port);
    this.#left.delete(port);
    return fd;
  }

  /** Has the port of a listening server outlive this process, until it is dropped. Resolves once it is so, or cannot be, which is logged. */
  async keep(port: number, server: net.Server): Promise<void> {
    const fd = descriptorOf(server);
    if (!this.#channel || this.#allStay || fd === undefined) return;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#asked.set(port, resolve);
    this.#channel.write(`keep ${port} ${fd}\n`);
    const answered = promise.then((why) => ({ why }));
    const { why } = (await withDeadline(answered, ANSWER_TIMEOUT_MS)) ?? { why: 'no answer' };
    this.#asked.delete(port);
    if (why !== undefined) this.#logger.warn({ port, why }, 'ports.not-kept');
  }

  /** Gives a port back, unless all stay. */
  drop(port: number): void {
    if (!this.#allStay) this.#channel?.write(`drop ${port}\n`);
  }

  /** Gives those back that nobody has taken: what they were for is no more. */
  dropLeft(): void {
    for (const [port, fd] of this.#left) {
      closeSync(fd);
      this.drop(port);
    }
    this.#left.clear();
  }

  /** All that are kept now stay so, whoever closes them afterwards: the next server has them. */
  stay(): void {
    this.#allStay = true;
  }

  #hear(text: string): void {
    const lines = (this.#heard + text).split('\n');
    this.#heard = lines.pop() ?? '';
    for (const line of lines) {
      const [verb, port, ...why] = line.split(' ');
      this.#asked.get(Number(port))?.(verb === 'kept' ? undefined : why.join(' '));
    }
  }
}

/** By the names that the supervisor gives the sockets it hands over: the numbers of their ports. */
function leftPorts(env: Environment, pid: number): Map<number, number> {
  const ports = new Map<number, number>();
  if (inheritedSocket(env, pid) === undefined) return ports;
  const names = (env.LISTEN_FDNAMES ?? '').split(':').slice(0, Number(env.LISTEN_FDS));
  for (const [index, name] of names.entries())
    if (/^\d+$/.test(name)) ports.set(Number(name), FIRST_FD + index);
  return ports;
}

/** Node has no public way to the descriptor of a server. */
function descriptorOf(server: net.Server): number | undefined {
  const { _handle } = server as net.Server & { readonly _handle?: { readonly fd?: number } | null };
  const fd = _handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
