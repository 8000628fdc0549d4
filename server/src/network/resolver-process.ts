/**
 * The sandboxes' resolver: a process of its own (`resolver/` in the clone) that goes on without this server. It is found by its control socket, kept when it is
 * the one that this server would start, replaced without losing a question when it is another, and started anew when it dies.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { run } from '../platform/command.ts';
import { delay } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';

/** What holds the process, so that it is found and ended whatever became of its control socket. */
export interface ResolverPlace {
  /** Makes it. @returns the files to which a process writes 0 to be in it */
  make(): Promise<readonly string[]>;
  /** Kills whatever is in it, and removes it. Fine when it is not there. */
  clear(): Promise<void>;
}

export interface ResolverOptions {
  /** Path of its program. */
  readonly program: string;
  /** Path of a unix socket, in a directory that only root may enter. */
  readonly controlSocket: string;
  readonly place: ResolverPlace;
  /** Who it runs as once it has its sockets; undefined leaves it who this process is. */
  readonly user: number | undefined;
  readonly logger: Logger;
  /** Others than the program's own bounds (`resolver/src/settings.rs`), for tests. */
  readonly bounds?: Readonly<Record<string, number>>;
}

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface RunningResolver {
  /** Says which program with which arguments it is. */
  readonly identity: string;
  readonly pid: number;
  /** Open exactly as long as it lives and was not replaced. */
  readonly link: Socket;
}

const GREETING = /^skerry-resolver ([!-~]+) (\d+)\n/;
const MAX_GREETING = 512;
/** A live one greets at once; the rest is for a machine that is busy with other things. */
const GREETING_MS = 5_000;
const START_MS = 30_000;
/** One that lived shorter than this is started anew after a pause, which grows. */
const SETTLED_MS = 10_000;
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 5_000;
/** systemd's table of user ids calls 0x70000000 to 0x7fffffff unused: nobody on the machine is who the resolver is. */
const FIRST_USER = 0x70000000;
const USERS = 0x10000000;

/** The user that the resolver of a server runs as. @param instance 8 hexadecimal digits */
export const resolverUser = (instance: string): number =>
  FIRST_USER + (Number.parseInt(instance, 16) % USERS);

/** Asks whoever listens there who it is. Undefined when nobody does, or does not say. End the link when it is of no more use. */
export function meetResolver(controlSocket: string): Promise<RunningResolver | undefined> {
  return new Promise((resolve) => {
    const link = connect(controlSocket);
    let said = '';
    const finish = (met: RunningResolver | undefined) => {
      clearTimeout(timer);
      link.removeAllListeners().on('error', () => {}); // its end is told by `close`
      if (!met) link.destroy();
      resolve(met);
    };
    const timer = setTimeout(() => finish(undefined), GREETING_MS);
    link.on('error', () => finish(undefined)).on('close', () => finish(undefined));
    link.on('data', (chunk) => {
      said += chunk.toString('latin1');
      const [, identity, pid] = GREETING.exec(said) ?? [];
      if (identity !== undefined) finish({ identity, pid: Number(pid), link });
      else if (said.length > MAX_GREETING) finish(undefined);
    });
  });
}

/** The process id of the one that listens there. */
export async function resolverPid(controlSocket: string): Promise<number | undefined> {
  const met = await meetResolver(controlSocket);
  met?.link.destroy();
  return met?.pid;
}

const formatEndpoint = ({ address, port }: Endpoint): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

export class ResolverProcess {
  readonly #options: ResolverOptions;
  readonly #arguments: readonly string[];
  readonly #closing = new AbortController();
  #link: Socket | undefined;
  #startedMs = 0;
  #pauseMs = FIRST_PAUSE_MS;
  /** Under way while a dead one is replaced. */
  #revival: Promise<void> = Promise.resolve();

  /**
   * @param at where sandboxes ask, over UDP and TCP
   * @param upstreams servers to ask, in order: the next one when one does not answer
   */
  constructor(options: ResolverOptions, at: Endpoint, upstreams: readonly Endpoint[]) {
    this.#options = options;
    const { user, bounds = {} } = options;
    this.#arguments = [
      ...['--listen', formatEndpoint(at)],
      ...upstreams.flatMap((upstream) => ['--upstream', formatEndpoint(upstream)]),
      ...(user === undefined ? [] : ['--user', String(user)]),
      ...Object.entries(bounds).flatMap(([name, value]) => ['--bound', `${name}=${value}`]),
    ];
  }

  /** Has it run, and keeps it running. @throws SkerryError `unavailable` with what to do when it cannot */
  async open(): Promise<void> {
    await this.#settle();
  }

  /** Lets go of it: it goes on. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#link?.destroy();
    await this.#revival;
  }

  /** Ends it. Call `close` first. */
  async remove(): Promise<void> {
    await this.#options.place.clear();
  }

  async #settle(): Promise<void> {
    const { controlSocket, place, logger } = this.#options;
    const identity = await this.#identity();
    const running = await meetResolver(controlSocket);
    if (running?.identity === identity) {
      logger.info({ pid: running.pid }, 'resolver.adopted');
      return this.#hold(running);
    }
    running?.link.destroy();
    this.#startedMs = performance.now();
    try {
      await this.#start(identity);
    } catch (error) {
      if (this.#closing.signal.aborted) throw error;
      logger.warn({ err: error }, 'resolver.start-failed');
      await place.clear(); // one that does not answer, or hands nothing over, is in the way
      await this.#start(identity);
    }
    const started = await meetResolver(controlSocket);
    if (started?.identity !== identity) {
      started?.link.destroy();
      throw new SkerryError('unavailable', "The sandboxes' resolver ended as soon as it was started.");
    }
    logger.info({ pid: started.pid, replaced: running?.pid }, 'resolver.started');
    this.#hold(started);
  }

  /** @throws SkerryError `unavailable` with the program's words */
  async #start(identity: string): Promise<void> {
    const { program, controlSocket, place } = this.#options;
    const groups = (await place.make()).flatMap((file) => ['--cgroup', file]);
    const argv = ['--identity', identity, '--control', controlSocket, ...groups, ...this.#arguments];
    try {
      await run([program, ...argv], { cwd: '/', timeoutMs: START_MS });
    } catch (error) {
      const why = toSkerryError(error).message;
      throw new SkerryError('unavailable', `The sandboxes' resolver did not start: ${why}`, { cause: error });
    }
  }

  async #identity(): Promise<string> {
    const { program } = this.#options;
    try {
      const hash = createHash('sha256').update(await readFile(program));
      return hash.update(JSON.stringify(this.#arguments)).digest('hex');
    } catch (error) {
      const words = `The sandboxes' resolver is missing at ${program}: run \`npm run setup\`.`;
      throw new SkerryError('unavailable', words, { cause: error });
    }
  }

  #hold({ link, pid }: RunningResolver): void {
    if (this.#closing.signal.aborted) return void link.destroy();
    this.#link = link;
    const onEnd = () => {
      if (this.#closing.signal.aborted) return;
      this.#options.logger.warn({ pid }, 'resolver.ended');
      this.#revival = this.#revive();
    };
    if (link.destroyed) onEnd();
    else link.once('close', onEnd).resume();
  }

  async #revive(): Promise<void> {
    const { signal } = this.#closing;
    if (performance.now() - this.#startedMs >= SETTLED_MS) this.#pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        await delay(this.#pauseMs, signal);
        this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
        return await this.#settle();
      } catch (error) {
        if (!signal.aborted) this.#options.logger.error({ err: error }, 'resolver.start-failed');
      }
    }
  }
}
