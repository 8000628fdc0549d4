/**
 * The thread that talks to PostgreSQL, so that the server's can wait for an answer as for SQLite's. One connection, made when it is needed and again after
 * it was lost, that holds a lock for as long as it lives: one server leads those of a database, and each of the others is known to live by its own.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import pg from 'pg';
import { type Connection, connectTo, OF_CONNECTION, OWN_CONNECTION } from './connection.ts';
import { checkFit } from './fitness.ts';
import { KEEPALIVE } from './locks.ts';
import type { Answer, Request, WorkerData } from './messages.ts';
import { LOCK_TIMEOUT_MS } from './timeouts.ts';
import { reasonOf, Unusable } from './unusable.ts';

const { source, answerTimeoutMs, lock: name, port, answers, sessionsBefore } = workerData as WorkerData; // `BlockingWorker` gives it
const counter = new Int32Array(answers);

/** Between tries to connect again, which nobody waits for. */
const PAUSE_MS = 500;
const SESSION = `${KEEPALIVE}
  SET statement_timeout = '15s'; SET idle_in_transaction_session_timeout = '60s';
  SET client_min_messages = warning`;
const LOCK = `SELECT pg_try_advisory_lock(${name}) AS taken`;

const END = `SELECT pg_terminate_backend(pid) ${OF_CONNECTION}`;

class Unreachable extends Error {}
class Taken extends Error {}

let session = sessionsBefore;
let client: pg.Client | undefined;
/** Why there is no connection, once somebody has waited for one in vain: from then on everybody is told so at once, until there is one. */
let failure: { readonly error: unknown } | undefined;
let closed = false;
/** The last connection that had the lock. */
let before: Connection | undefined;

async function connect(): Promise<pg.Client> {
  const made = await connectTo(source, 'skerry');
  const lost = () => {
    if (client === made) client = undefined;
  };
  made.on('error', lost);
  made.on('end', lost);
  try {
    await checkFit(made, source);
    await made.query(SESSION);
    await lock(made);
    before = (await made.query(OWN_CONNECTION)).rows[0];
  } catch (error) {
    made.end().catch(() => {});
    throw error;
  }
  session++;
  return made;
}

/**
 * The lock of a server that was killed a moment ago is free when the database has noticed; that of a connection of this one that was given up, which may be in the middle of a
 * statement, as soon as it is ended.
 */
async function lock(made: pg.Client): Promise<void> {
  const untilMs = performance.now() + LOCK_TIMEOUT_MS;
  for (;;) {
    const { rows } = await made.query(LOCK);
    if (rows[0]?.taken === 1) return;
    if (before) await made.query(END, [before.pid, before.since]);
    if (performance.now() > untilMs) throw new Taken();
    await delay(100);
  }
}

async function connected(): Promise<pg.Client> {
  if (client) return client;
  if (failure) throw failure.error;
  try {
    client = await connect();
    return client;
  } catch (error) {
    failure = { error };
    void connectAgain();
    throw error;
  }
}

async function connectAgain(): Promise<void> {
  while (failure && !closed) {
    await delay(PAUSE_MS);
    try {
      client = await connect();
      failure = undefined;
    } catch (error) {
      failure = { error };
    }
  }
  if (closed) await client?.end();
}

async function query(request: Extract<Request, { kind: 'query' }>): Promise<Answer> {
  const { text, name, values } = request;
  const goesOn = typeof request.session === 'number';
  if (goesOn && (!client || request.session !== session))
    throw new Unreachable('the connection was lost in the middle of a transaction');
  const on = await connected();
  if (request.session === 'begin') await withinTime(on, on.query('BEGIN'));
  const statement = name === undefined ? text : { text, name, values: [...(values ?? [])] };
  const result = await withinTime(on, on.query(statement));
  // The types know nothing of several statements, whose results come as an array.
  const last = [result as pg.QueryResult | pg.QueryResult[]].flat().at(-1);
  const { rows = [], rowCount, command = '' } = last ?? {};
  return { kind: 'result', rows, changes: rowCount ?? 0, command, session };
}

/** A connection on which an answer is missing is of no more use. */
async function withinTime<T>(on: pg.Client, answer: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timeout = delay(answerTimeoutMs, undefined, { signal: late.signal }).then(
    () => {
      if (client === on) client = undefined;
      on.end().catch(() => {});
      throw new Unreachable(`no answer within ${answerTimeoutMs / 1000} s`);
    },
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    late.abort();
  }
}

/** Of the system or of a shutdown, rather than about the statement: https://www.postgresql.org/docs/current/errcodes-appendix.html, classes 08 and 57P. */
const isAboutConnection = (code: string) => /^(08|57P)/.test(code);

function toAnswer(error: unknown): Answer {
  if (error instanceof Taken) return { kind: 'taken' };
  if (error instanceof Unusable) return { kind: 'unusable', why: error.message };
  if (!(error instanceof Error)) return { kind: 'unreachable', why: String(error) };
  if (error instanceof pg.DatabaseError && client && !isAboutConnection(error.code ?? '')) {
    const { message, code = '', constraint } = error;
    return { kind: 'refused', message, code, constraint, session };
  }
  // What is left of it, a transaction perhaps, is nobody's.
  client?.end().catch(() => {});
  client = undefined;
  return { kind: 'unreachable', why: reasonOf(error) };
}

async function answerTo(request: Request): Promise<Answer> {
  if (request.kind === 'query') return query(request);
  closed = true;
  await client?.end();
  return { kind: 'closed' };
}

port.on('message', async (request: Request) => {
  const answer = await answerTo(request).catch(toAnswer);
  port.postMessage(answer);
  Atomics.add(counter, 0, 1);
  Atomics.notify(counter, 0);
  if (answer.kind === 'closed') port.close();
});
