/**
 * A program of the host that serves sandboxes and goes on without this server (`resolver/` and `egress/` in the clone). It is found by its control socket,
 * kept when it is the one that this server would start, replaced when it is another, and started anew when it dies.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { run } from '../platform/command.ts';
import { delay } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { readGreeting } from './orders.ts';

/** What holds the process, so that it is found and ended whatever became of its control socket. */
export interface ProcessPlace {
  /** Makes it. @returns the files to which a process writes 0 to be in it */
  make(): Promise<readonly string[]>;
  /** Kills whatever is in it, and removes it. Fine when it is not there. */
  clear(): Promise<void>;
}

/** Where it is and what holds it. */
export interface ProcessHome {
  /** Path of its program. */
  readonly program: string;
  /** Path of a unix socket, in a directory that only root may enter. */
  readonly controlSocket: string;
  readonly place: ProcessPlace;
}

export interface HostProcessOptions extends ProcessHome {
  /** How it greets on its control socket. */
  readonly greeting: 'skerry-resolver' | 'skerry-egress';
  /** In errors. */
  readonly title: string;
  /** In events of the log. */
  readonly event: string;
  /** Besides those that every program has. */
  readonly arguments: readonly string[];
  /** Who it runs as once it has its sockets; undefined leaves it who this process is. */
  readonly user: number | undefined;
  /** Others than the program's own, by their names. */
  readonly bounds?: Readonly<Record<string, number>> | undefined;
  /** Runs its program elsewhere: a command that takes another one. */
  readonly enter?: readonly string[];
  readonly logger: Logger;
  /** Given each process that runs, from when it is met. What it throws ends the start. */
  readonly onRunning?: (running: RunningProcess) => Promise<void>;
}

export interface RunningProcess {
  /** Says which program with which arguments it is. */
  readonly identity: string;
  readonly pid: number;
  /** Open exactly as long as it lives and was not replaced. */
  readonly link: Socket;
}

/** A live one greets at once; the rest is for a machine that is busy with other things. */
const GREETING_MS = 5_000;
const START_MS = 30_000;
/** One that lived shorter than this is started anew after a pause, which grows. */
const SETTLED_MS = 10_000;
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 5_000;

/** Asks whoever listens there who it is. Undefined when nobody does, or does not say. End the link when it is of no more use. */
export async function meetProcess(
  controlSocket: string,
  greeting: HostProcessOptions['greeting'],
): Promise<RunningProcess | undefined> {
  const link = connect(controlSocket);
  link.on('error', () => {}); // its end is told by `close`
  const met = await readGreeting(link, greeting, GREETING_MS);
  if (!met) link.destroy();
  return met && { ...met, link };
}

/** systemd's table of user ids calls these unused: nobody on the machine is who such a process is, nor anybody in a sandbox (`platform/id-ranges.ts`). */
const FIRST_USER = 0x7fff0000;
const USERS = 0x8000;

/** The user that the resolver of a server runs as. @param instance 8 hexadecimal digits */
export const resolverUser = (instance: string): number =>
  FIRST_USER + (Number.parseInt(instance, 16) % USERS);

/** The user that the egress proxy of a server runs as. */
export const egressUser = (instance: string): number =>
  FIRST_USER + (((Number.parseInt(instance, 16) ^ (USERS >> 1)) >>> 0) % USERS);

export class HostProcess {
  readonly #options: HostProcessOptions;
  /** All that another server would have to give as well, to keep it. */
  readonly #arguments: readonly string[];
  readonly #closing = new AbortController();
  #link: Socket | undefined;
  #startedMs = 0;
  #pauseMs = FIRST_PAUSE_MS;
  /** Under way while a dead one is replaced. */
  #revival: Promise<void> = Promise.resolve();

  constructor(options: HostProcessOptions) {
    this.#options = options;
    const { user, bounds = {} } = options;
    this.#arguments = [
      ...options.arguments,
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
    const { controlSocket, greeting, title, event, place, logger } = this.#options;
    const identity = await this.#identity();
    const running = await meetProcess(controlSocket, greeting);
    if (running?.identity === identity) {
      logger.info({ pid: running.pid }, `${event}.adopted`);
      return this.#hold(running);
    }
    running?.link.destroy();
    this.#startedMs = performance.now();
    try {
      await this.#start(identity);
    } catch (error) {
      if (this.#closing.signal.aborted) throw error;
      logger.warn({ err: error }, `${event}.start-failed`);
      await place.clear(); // one that does not answer, or hands nothing over, is in the way
      await this.#start(identity);
    }
    const started = await meetProcess(controlSocket, greeting);
    if (started?.identity !== identity) {
      started?.link.destroy();
      throw new SkerryError('unavailable', `The sandboxes' ${title} ended as soon as it was started.`);
    }
    logger.info({ pid: started.pid, replaced: running?.pid }, `${event}.started`);
    await this.#hold(started);
  }

  /** @throws SkerryError `unavailable` with the program's words */
  async #start(identity: string): Promise<void> {
    const { program, controlSocket, place, title, enter = [] } = this.#options;
    const groups = (await place.make()).flatMap((file) => ['--cgroup', file]);
    const own = ['--identity', identity, '--control', controlSocket, ...groups, ...this.#arguments];
    const [command, ...argv] = [...enter, program, ...own] as [string, ...string[]]; // the program is there
    try {
      await run([command, ...argv], { cwd: '/', timeoutMs: START_MS });
    } catch (error) {
      const why = toSkerryError(error).message;
      throw new SkerryError('unavailable', `The sandboxes' ${title} did not start: ${why}`, { cause: error });
    }
  }

  async #identity(): Promise<string> {
    const { program, title } = this.#options;
    try {
      const hash = createHash('sha256').update(await readFile(program));
      return hash.update(JSON.stringify(this.#arguments)).digest('hex');
    } catch (error) {
      const words = `The sandboxes' ${title} is missing at ${program}: run \`npm run setup\`.`;
      throw new SkerryError('unavailable', words, { cause: error });
    }
  }

  async #hold(running: RunningProcess): Promise<void> {
    const { link, pid } = running;
    if (this.#closing.signal.aborted) return void link.destroy();
    this.#link = link;
    const onEnd = () => {
      if (this.#closing.signal.aborted) return;
      this.#options.logger.warn({ pid }, `${this.#options.event}.ended`);
      this.#revival = this.#revive();
    };
    try {
      await this.#options.onRunning?.(running);
    } catch (error) {
      link.destroy();
      throw error;
    }
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
        if (!signal.aborted)
          this.#options.logger.error({ err: error }, `${this.#options.event}.start-failed`);
      }
    }
  }
}
