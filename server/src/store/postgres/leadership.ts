/** Which of several servers over one database works on it, and who is next: advisory locks of sessions decide. */
import pg from 'pg';
import { Limiter } from '../../platform/limiter.ts';
import { delay } from '../../platform/wait.ts';
import type { SettingKey } from '../settings.ts';
import {
  type Connection,
  connectTo,
  type DatabaseSource,
  OF_CONNECTION,
  OWN_CONNECTION,
} from './connection.ts';
import { parseDatabaseUrl } from './database-url.ts';
import { checkFit } from './fitness.ts';
import { type Leader, leaderFrom } from './leader.ts';
import { KEEPALIVE, LEADER_LOCK, TURN_LOCK } from './locks.ts';
import { ANSWER_TIMEOUT_MS } from './timeouts.ts';
import { toSkerryError } from './unusable.ts';

/** Between tries where the database does not answer. A leader whose connection went with it is back before. */
const PAUSE_MS = 2_000;
const LOOK_MS = 10_000;

/** Nobody else may begin to lead until it is over. */
export interface Turn {
  end(): Promise<void>;
}

export class Leadership {
  readonly #source: DatabaseSource;
  #questions: Promise<pg.Client> | undefined;
  readonly #oneByOne = new Limiter(1);
  readonly #lookMs: number;

  /** @param lookMs how often who waits for a turn looks whether the database still knows of it */
  constructor(source: DatabaseSource, { lookMs = LOOK_MS }: { readonly lookMs?: number } = {}) {
    this.#source = source;
    this.#lookMs = lookMs;
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
      const turn = client && (await this.#turnOf(client, signal));
      if (turn) return turn;
      await delay(PAUSE_MS, signal);
    }
  }

  /** Undefined once its connection broke, or `signal` is aborted. */
  async #turnOf(client: pg.Client, signal: AbortSignal): Promise<Turn | undefined> {
    const leave = () => void client.end().catch(() => {});
    signal.addEventListener('abort', leave, { once: true });
    const over = new AbortController();
    try {
      signal.throwIfAborted();
      const whose = (await client.query(OWN_CONNECTION)).rows[0];
      void this.#untilGone(whose, over.signal).then(leave, () => {});
      await client.query(`SELECT pg_advisory_lock(${TURN_LOCK})`);
      await client.query(`SELECT pg_advisory_lock(${LEADER_LOCK})`);
      return await begun(client);
    } catch {
      leave();
      return undefined;
    } finally {
      over.abort();
      signal.removeEventListener('abort', leave);
    }
  }

  /** Until the database says that it has no such connection: nothing is sent on one that waits, so that its end may go unnoticed. */
  async #untilGone({ pid, since }: Connection, signal: AbortSignal) {
    for (let isThere = true; isThere; ) {
      await delay(this.#lookMs, signal);
      const rows = await this.#ask(`SELECT 1 ${OF_CONNECTION}`, [pid, since]).catch(() => undefined);
      isThere = rows?.length !== 0; // also while the database says nothing
    }
  }

  /** Where the last server said that it listens which led. @throws what the database says, or the network */
  async leader(): Promise<Leader | undefined> {
    const text = await this.setting('leader');
    return text === undefined ? undefined : leaderFrom(text);
  }

  /** @throws what the database says, or the network */
  async setting(key: SettingKey): Promise<string | undefined> {
    try {
      return (await this.#ask('SELECT value FROM settings WHERE key = $1', [key]))[0]?.value;
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === NO_TABLE) return undefined;
      throw error;
    }
  }

  /** One connection for all questions, one after the other; made anew when it failed. */
  #ask(text: string, values: readonly unknown[]): Promise<pg.QueryResult['rows']> {
    return this.#oneByOne.run(() => this.#askNow(text, values));
  }

  async #askNow(text: string, values: readonly unknown[]): Promise<pg.QueryResult['rows']> {
    this.#questions ??= this.#connect();
    const asked = this.#questions;
    try {
      const client = await asked;
      // The types of `pg` do not know `query_timeout` of one.
      const question = { text, values: [...values], query_timeout: ANSWER_TIMEOUT_MS };
      return (await client.query(question)).rows;
    } catch (error) {
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
