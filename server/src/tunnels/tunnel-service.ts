/** Which tunnels there are: opens them when somebody asks for their addresses, again at the start of a server, and closes them with their sandbox. */
import type { Socket } from 'node:net';
import type { Config } from '../config/config.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { TaskId } from '../ids.ts';
import { withDeadline } from '../platform/wait.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Sandbox, Sandboxes } from '../sandboxes/sandboxes.ts';
import type { OpenPort } from '../sandboxes/spec.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type DomainGate, newName } from './domain-gate.ts';
import { Entrance } from './entrance.ts';
import type { Ports } from './ports.ts';
import type { TunnelRepository, TunnelRow } from './repositories.ts';
import { createTlsDoor, type TlsFiles } from './tls-door.ts';
import type { Tunnel, TunnelledSandbox, Tunnels } from './tunnels.ts';

export interface TunnelServiceOptions {
  readonly repository: TunnelRepository;
  readonly sandboxes: Pick<Sandboxes, 'getByTask'>;
  /** Calls its argument with everything that happens to sandboxes. */
  readonly follow: (follower: (entry: Pick<LifeEntry, 'taskId' | 'kind'>) => void) => void;
  readonly config: Pick<Config, 'tunnelWaitMs' | 'tunnelIdleSeconds'>;
  readonly ports: Ports;
  /** Undefined without a domain. */
  readonly gate: DomainGate | undefined;
  /** What clients are told to connect to for a port of the machine. */
  readonly publicHost: () => string;
  /** For ports of the machine. */
  readonly tls: TlsFiles;
  /** Whether somebody at an address may reach a sandbox; asked for each connection. */
  readonly mayEnter: (sandbox: Pick<Sandbox, 'taskId' | 'spec'>, address: string) => boolean;
  readonly logger: Logger;
}

/** The tunnels of one sandbox. */
interface Opened {
  readonly rows: readonly TunnelRow[];
  useCertificate(tls: TlsFiles): void;
  close(): void;
}

export class TunnelService implements Tunnels {
  readonly #options: TunnelServiceOptions;
  readonly #opened = new Map<TaskId, Promise<Opened>>();
  #tls: TlsFiles;

  constructor(options: TunnelServiceOptions) {
    this.#options = options;
    this.#tls = options.tls;
    options.follow(({ taskId, kind }) => {
      if (kind === 'stopping' || kind === 'ended') this.#close(taskId);
    });
  }

  /** Opens what an earlier server had open, at the same addresses. Sandboxes are known by then. */
  async recover(): Promise<void> {
    const { repository, sandboxes, logger } = this.#options;
    const rows = Map.groupBy(repository.all(), ({ taskId }) => taskId);
    await Promise.all(
      [...rows].map(async ([taskId, known]) => {
        try {
          const sandbox = sandboxes.getByTask(taskId);
          if (isOver(sandbox)) repository.replace(taskId, []);
          else await this.#openOnce(sandbox, known);
        } catch (err) {
          logger.error({ task: taskId, err }, 'tunnels.not-opened');
        }
      }),
    );
  }

  async of(
    sandbox: TunnelledSandbox,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<readonly Tunnel[] | undefined> {
    if (!sandbox.spec.openPorts?.length) return [];
    const over = new AbortController();
    const running = sandbox.waitUntilRunning(AbortSignal.any([signal, over.signal])).then(() => true);
    try {
      if (!(await withDeadline(running, timeoutMs, signal))) return undefined;
    } finally {
      over.abort();
    }
    const known = this.#options.repository.all().filter(({ taskId }) => taskId === sandbox.taskId);
    const { rows } = await this.#openOnce(sandbox, known);
    return rows.map((row) => this.#toTunnel(row));
  }

  /** Shows another certificate on ports of the machine from now on. */
  useCertificate(tls: TlsFiles): void {
    this.#tls = tls;
    for (const opening of this.#opened.values()) opening.then((opened) => opened.useCertificate(tls), ignore);
  }

  /** Lets go of everything; the next server opens it again. */
  close(): void {
    for (const taskId of this.#opened.keys()) this.#close(taskId);
  }

  #close(taskId: TaskId): void {
    const opening = this.#opened.get(taskId);
    this.#opened.delete(taskId);
    opening?.then((opened) => opened.close(), ignore);
  }

  #openOnce(sandbox: TunnelledSandbox, known: readonly TunnelRow[]): Promise<Opened> {
    const { taskId } = sandbox;
    const before = this.#opened.get(taskId);
    if (before) return before;
    // Only what is told of its end afterwards may begin.
    if (isOver(sandbox)) throw ended();
    const opening = this.#open(sandbox, known);
    this.#opened.set(taskId, opening);
    opening.catch(() => {
      if (this.#opened.get(taskId) === opening) this.#opened.delete(taskId);
    });
    return opening;
  }

  async #open(sandbox: TunnelledSandbox, known: readonly TunnelRow[]): Promise<Opened> {
    const undo: (() => void)[] = [];
    const changes: ((tls: TlsFiles) => void)[] = [];
    const close = () => {
      for (const step of undo.splice(0)) step();
    };
    try {
      const rows: TunnelRow[] = [];
      for (const openPort of sandbox.spec.openPorts ?? []) {
        const row = known.find(({ containerPort }) => containerPort === openPort.port);
        rows.push(await this.#openPort(sandbox, openPort, row, undo, changes));
      }
      // Its end, once it is stored, takes the rows that are there.
      if (isOver(sandbox)) throw ended();
      if (rows.some((row) => !known.includes(row))) this.#options.repository.replace(sandbox.taskId, rows);
      const useCertificate = (tls: TlsFiles) => {
        for (const change of changes) change(tls);
      };
      return { rows, useCertificate, close };
    } catch (error) {
      close();
      throw error;
    }
  }

  /** @param undo gets how to close what was opened; @param changes how to change its certificate */
  async #openPort(
    sandbox: TunnelledSandbox,
    { port: containerPort, h2: http2, plain }: OpenPort,
    row: TunnelRow | undefined,
    undo: (() => void)[],
    changes: ((tls: TlsFiles) => void)[],
  ): Promise<TunnelRow> {
    const { ports, gate, config, mayEnter, logger } = this.#options;
    const entrance = new Entrance({
      ...{ sandbox, port: containerPort, http2 },
      waitMs: config.tunnelWaitMs,
      idleMs: config.tunnelIdleSeconds * 1000,
      mayEnter: (address) => mayEnter(sandbox, address),
    });
    undo.push(() => entrance.close());
    const openOne = async (known: number | undefined, serve: (socket: Socket) => void): Promise<number> => {
      const opened = await ports.open(known, (socket) => {
        if (entrance.admit(socket)) serve(socket);
      });
      undo.push(opened.close);
      return opened.port;
    };
    const plainPort = plain ? await openOne(row?.plainPort, (socket) => entrance.serve(socket)) : undefined;
    if (gate) {
      const name = row?.name ?? newName();
      undo.push(gate.add(name, entrance));
      return sameOr(row, { taskId: sandbox.taskId, containerPort, name, tlsPort: undefined, plainPort });
    }
    const door = createTlsDoor({
      ...{ tls: this.#tls, logger },
      speaksHttp2: () => http2,
      onSecure: (socket) => entrance.serve(socket),
    });
    changes.push(door.useCertificate);
    const tlsPort = await openOne(row?.tlsPort, door.take);
    return sameOr(row, { taskId: sandbox.taskId, containerPort, name: undefined, tlsPort, plainPort });
  }

  #toTunnel({ containerPort, name, tlsPort, plainPort }: TunnelRow): Tunnel {
    const { gate, publicHost } = this.#options;
    const at = (port: number) => ({ host: publicHost(), port });
    const encrypted = name !== undefined && gate ? gate.endpoint(name) : at(tlsPort ?? 0);
    return { containerPort, encrypted, plain: plainPort === undefined ? undefined : at(plainPort) };
  }
}

/** The row that is there, where it says the same. */
const sameOr = (row: TunnelRow | undefined, made: TunnelRow): TunnelRow =>
  row && row.name === made.name && row.tlsPort === made.tlsPort && row.plainPort === made.plainPort
    ? row
    : made;

const ended = (): SkerryError =>
  new SkerryError('sandbox-ended', 'The sandbox has ended, and its tunnels with it.');
const isOver = ({ state }: Pick<Sandbox, 'state'>): boolean => state === 'stopping' || state === 'ended';
const ignore = (): void => {};
