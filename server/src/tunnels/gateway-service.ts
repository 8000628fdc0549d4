/** Which ports of sandboxes have a gateway: one is opened with the first token for a port, again at the start of a server, and closed with its sandbox. */
import type { Socket } from 'node:net';
import { type ConnectTokens, checkUserMetadata } from '../auth/connect-tokens.ts';
import type { Config } from '../config/config.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { TaskId } from '../ids.ts';
import { checkPort } from '../sandboxes/port-connections.ts';
import { sandboxEnded } from '../sandboxes/sandbox-errors.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import { sniff } from '../transport/first-bytes.ts';
import { isOwnMachine } from '../transport/plaintext.ts';
import { urlOf } from '../transport/urls.ts';
import { Dialer } from './dialer.ts';
import { newName } from './domain-gate.ts';
import { HttpGateway } from './gateway/gateway.ts';
import type { GatewayTarget } from './gateway/target.ts';
import type { ConnectCredentials, ConnectRequest, HttpAccess } from './http-access.ts';
import type { GatewayRepository, GatewayRow } from './repositories.ts';
import { cut } from './splice.ts';
import { createTlsDoor, type TlsDoor, type TlsFiles } from './tls-door.ts';
import type { TunnelServiceOptions } from './tunnel-service.ts';

export interface GatewayServiceOptions
  extends Pick<
    TunnelServiceOptions,
    'sandboxes' | 'follow' | 'ports' | 'gate' | 'publicHost' | 'tls' | 'mayEnter' | 'logger'
  > {
  readonly repository: GatewayRepository;
  readonly tokens: ConnectTokens;
  readonly config: Pick<Config, 'tunnelWaitMs' | 'tunnelIdleSeconds' | 'plaintextFrom'>;
  /** Whether ports of the machine are open to itself only: then their URLs need no TLS, for which its programs would have to trust our certificate. */
  readonly local: boolean;
}

type Target = Parameters<HttpAccess['credentials']>[0];

/** The gateway of one port of a sandbox. */
interface Opened {
  readonly row: GatewayRow;
  useCertificate(tls: TlsFiles): void;
  close(): void;
}

/** Ports of one sandbox: none of them may take all ports of the machine. */
const MOST_PER_SANDBOX = 64;
const FIRST_BYTES_MS = 10_000;

export class GatewayService implements HttpAccess {
  readonly #options: GatewayServiceOptions;
  readonly #opened = new Map<TaskId, Map<number, Promise<Opened>>>();
  #tls: TlsFiles;

  constructor(options: GatewayServiceOptions) {
    this.#options = options;
    this.#tls = options.tls;
    options.follow(({ taskId, kind }) => {
      if (kind === 'stopping' || kind === 'ended') this.#close(taskId);
    });
  }

  /** Opens what an earlier server had open, at the same addresses. Sandboxes are known by then. */
  async recover(): Promise<void> {
    const { repository, logger } = this.#options;
    await Promise.all(
      repository.all().map(async (row) => {
        try {
          const sandbox = this.#running(row.taskId);
          if (sandbox) await this.#openOnce(sandbox, row.containerPort);
          else repository.forget(row.taskId);
        } catch (err) {
          logger.error({ task: row.taskId, port: row.containerPort, err }, 'gateway.not-opened');
        }
      }),
    );
  }

  async credentials(sandbox: Target, { port, userMetadata }: ConnectRequest): Promise<ConnectCredentials> {
    checkPort(port);
    if (userMetadata !== undefined) checkUserMetadata(userMetadata);
    const { row } = await this.#openOnce(sandbox, port);
    const token = await this.#options.tokens.issue({ sandboxId: sandbox.id, port, userMetadata });
    return { url: this.#urlOf(row), token };
  }

  /** Shows another certificate on ports of the machine from now on. */
  useCertificate(tls: TlsFiles): void {
    this.#tls = tls;
    for (const gateways of this.#opened.values()) {
      for (const opening of gateways.values()) opening.then((opened) => opened.useCertificate(tls), ignore);
    }
  }

  /** Lets go of everything; the next server opens it again. */
  close(): void {
    for (const taskId of this.#opened.keys()) this.#close(taskId);
  }

  #running(taskId: TaskId): Sandbox | undefined {
    try {
      const sandbox = this.#options.sandboxes.getByTask(taskId);
      return isOver(sandbox) ? undefined : sandbox;
    } catch (error) {
      if (error instanceof SkerryError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  #close(taskId: TaskId): void {
    const gateways = this.#opened.get(taskId);
    this.#opened.delete(taskId);
    for (const opening of gateways?.values() ?? []) opening.then((opened) => opened.close(), ignore);
  }

  #openOnce(sandbox: Target, port: number): Promise<Opened> {
    // Only what is told of its end afterwards may begin.
    if (isOver(sandbox)) throw sandboxEnded(sandbox);
    const gateways = this.#opened.get(sandbox.taskId) ?? new Map<number, Promise<Opened>>();
    this.#opened.set(sandbox.taskId, gateways);
    const before = gateways.get(port);
    if (before) return before;
    if (gateways.size >= MOST_PER_SANDBOX) {
      throw new SkerryError(
        'resource-exhausted',
        `There are tokens for ${MOST_PER_SANDBOX} ports of the sandbox.`,
      );
    }
    const opening = this.#open(sandbox, port);
    gateways.set(port, opening);
    opening.catch(() => gateways.delete(port));
    return opening;
  }

  async #open(sandbox: Target, port: number): Promise<Opened> {
    const { gate, repository } = this.#options;
    const known = repository
      .all()
      .find(({ taskId, containerPort }) => taskId === sandbox.taskId && containerPort === port);
    const opened = gate
      ? this.#openName(sandbox, port, known?.name ?? newName())
      : await this.#openPort(sandbox, port, known?.port);
    const { row } = opened;
    try {
      // Its end, once it is stored, takes the rows that are there.
      if (isOver(sandbox)) throw sandboxEnded(sandbox);
      if (row.name !== known?.name || row.port !== known?.port) repository.put(row);
    } catch (error) {
      opened.close();
      throw error;
    }
    return opened;
  }

  #openName(sandbox: Target, port: number, name: string): Opened {
    const gateway = this.#gateway(sandbox, port, 'own');
    const forget = this.#options.gate?.add(name, gateway);
    return {
      row: { taskId: sandbox.taskId, containerPort: port, name, port: undefined },
      useCertificate: () => {}, // the gate has it
      close: () => {
        forget?.();
        gateway.close();
      },
    };
  }

  async #openPort(sandbox: Target, port: number, known: number | undefined): Promise<Opened> {
    const gateway = this.#gateway(sandbox, port, 'shared');
    const door = createTlsDoor({
      ...{ tls: this.#tls, logger: this.#options.logger },
      speaksHttp2: () => true,
      onSecure: (socket) => gateway.serve(socket),
    });
    const listening = await this.#options.ports.open(known, (socket) => {
      if (gateway.admit(socket)) this.#enter(socket, door, gateway);
    });
    return {
      row: { taskId: sandbox.taskId, containerPort: port, name: undefined, port: listening.port },
      useCertificate: door.useCertificate,
      close: () => {
        listening.close();
        gateway.close();
      },
    };
  }

  /** With TLS from everywhere, without it as the server's own port. */
  #enter(socket: Socket, door: TlsDoor, gateway: HttpGateway): void {
    const plainText = this.#options.config.plaintextFrom === 'anywhere' || isOwnMachine(socket);
    sniff(socket, FIRST_BYTES_MS, (protocol) => {
      if (protocol === 'tls') door.take(socket);
      else if (plainText) gateway.serve(socket);
      else cut(socket);
    });
  }

  #gateway(sandbox: Target, port: number, host: GatewayTarget['host']): HttpGateway {
    const { config, tokens, mayEnter, logger } = this.#options;
    const dialer = new Dialer(sandbox, port, config.tunnelWaitMs);
    return new HttpGateway({
      target: { sandboxId: sandbox.id, port, host, connect: (signal) => dialer.dial(signal) },
      ...{ tokens, logger },
      idleMs: config.tunnelIdleSeconds * 1000,
      mayEnter: (address) => mayEnter(sandbox, address),
    });
  }

  #urlOf({ name, port }: GatewayRow): string {
    const { gate, publicHost, local } = this.#options;
    if (name !== undefined && gate) {
      const { host, port: own } = gate.endpoint(name);
      return urlOf('https', host, own);
    }
    return urlOf(local ? 'http' : 'https', publicHost(), port ?? 0);
  }
}

const isOver = ({ state }: Pick<Sandbox, 'state'>): boolean => state === 'stopping' || state === 'ended';
const ignore = (): void => {};
