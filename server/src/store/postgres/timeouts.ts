/** How long what is asked of PostgreSQL may take. The server does nothing else meanwhile. */

export const CONNECT_TIMEOUT_MS = 5_000;
/** For another server to let go of the database. */
export const LOCK_TIMEOUT_MS = 5_000;
/** For one statement; PostgreSQL itself ends it before. */
export const ANSWER_TIMEOUT_MS = 20_000;
/** After which the worker itself counts as stuck. */
export const WORKER_TIMEOUT_MS = CONNECT_TIMEOUT_MS + LOCK_TIMEOUT_MS + ANSWER_TIMEOUT_MS + 10_000;
