/** Which of several servers over one database works on it, and who is next: advisory locks of sessions decide. */
import pg from 'pg';
import { z } from 'zod';
import { delay } from '../../platform/wait.ts';
import type { SettingKey } from '../settings.ts';
import { connectTo, type DatabaseSource } from './connection.ts';
import { parseDatabaseUrl } from './database-url.ts';
import { checkFit } from './fitness.ts';
import { KEEPALIVE, LEADER_LOCK, TURN_LOCK } from './locks.ts';
import { toSkerryError } from './unusable.ts';

/** Between tries where the database does not answer. A leader whose connection went with it is back before. */
const PAUSE_MS = 2_000;

const leaderSchema = z.object({
  /** A name or an address that the other servers reach. */
  host: z.string(),
  port: z.number().int(),
  /** Of the key of its TLS certificate: `sha256:` and 64 hexadecimal digits. */
  fingerprint: z.string(),
});
/** Where the server listens that leads. */
export type Leader = z.infer<typeof leaderSchema>;

export const leaderAsText = (leader: Leader): string => JSON.stringify(leader);

/** Nobody else may begin to lead until it is over. */
export interface Turn {
  end(): Promise<void>;
}

export class Leadership {
  readonly #source: DatabaseSource;
  #questions: Promise<pg.Client> | undefined;

  constructor(source: DatabaseSource) {
    this.#source = source;
  }

  /**
   * A turn where nobody leads and nobody is next; undefined otherwise.
   * @throws SkerryError `unavailable` when the database does not answer, or is none that servers can share
   */
  async tryTurn(): Promise<Turn | undefined> {
    try {
      return await this.#tryTurn();
    } catch (error) {
      throw toSkerryError(parseDatabaseUrl(this.#source.url).place, error);
    }
  }

  async #tryTurn(): Promise<Turn | undefined> {
    const client = await this.#connect();
    const has = async (lock: string) =>
      (await client.query(`SELECT pg_try_advisory_lock(${lock}) AS taken`)).rows[0]?.taken === 1;
    try {
      await checkFit(client, this.#source);
      if ((await has(TURN_LOCK)) && (await has(LEADER_LOCK))) return await begun(client);
    } catch (error) {
      await client.end().catch(() => {});
      throw error;
    }
    await client.end();
    return undefined;
  }

  /** Waits until nobody leads, after those who have waited for longer. The database may go away meanwhile, and come back. */
  async turn(signal: AbortSignal): Promise<Turn> {
    for (;;) {
      const client = await this.#connect().catch(() => undefined);
      const leave = () => void client?.end().catch(() => {});
      signal.addEventListener('abort', leave, { once: true });
      try {
        signal.throwIfAborted();
        await client?.query(`SELECT pg_advisory_lock(${TURN_LOCK})`);
        await client?.query(`SELECT pg_advisory_lock(${LEADER_LOCK})`);
        if (client) return await begun(client);
      } catch {
        leave();
      } finally {
        signal.removeEventListener('abort', leave);
      }
      await delay(PAUSE_MS, signal);
    }
  }

  /** Where the last server said that it listens which led. @throws what the database says, or the network */
  async leader(): Promise<Leader | undefined> {
    const text = await this.setting('leader');
    return text === undefined ? undefined : leaderSchema.parse(JSON.parse(text));
  }

  /** @throws what the database says, or the network */
  async setting(key: SettingKey): Promise<string | undefined> {
    // One connection for all questions, made anew when it failed.
    this.#questions ??= this.#connect();
    const asked = this.#questions;
    try {
      const client = await asked;
      const { rows } = await client.query('SELECT value FROM settings WHERE key = $1', [key]);
      return rows[0]?.value;
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === NO_TABLE) return undefined;
      if (this.#questions === asked) this.close();
      throw error;
    }
  }

  /** Of what it asked; turns are their holders'. */
  close(): void {
    void this.#questions?.then((client) => client.end()).catch(() => {});
    this.#questions = undefined;
  }

  async #connect(): Promise<pg.Client> {
    const client = await connectTo(this.#source, 'skerry');
    await client.query(KEEPALIVE).catch(async (error: unknown) => {
      await client.end().catch(() => {});
      throw error;
    });
    return client;
  }
}

/** `undefined_table`: the first server has not been here yet. */
const NO_TABLE = '42P01';

/** The lock of the leader is for the connection that its statements will run on. */
async function begun(client: pg.Client): Promise<Turn> {
  await client.query(`SELECT pg_advisory_unlock(${LEADER_LOCK})`);
  return { end: () => client.end().catch(() => {}) };
}
