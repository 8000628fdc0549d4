/** Advisory locks of a database that servers of Skerry share: they belong to a session, and go with it however it ends. */

/** "Sker" */
const SPACE = 1399547250;

/** Held by the server that works on the database, on the very connection that its statements run on. */
export const LEADER_LOCK = `${SPACE}, 1`;
/** Held by the one that is next. */
export const TURN_LOCK = `${SPACE}, 2`;

/** "Skes": one for each server that keeps sandboxes under one that leads, by its key. Held as the leader's is. */
export const MEMBER_SPACE = 1399547251;
/** @param key an `int4`, not negative */
export const memberLock = (key: number): string => `${MEMBER_SPACE}, ${key}`;

/** The database notices within half a minute that a server's machine is gone, and frees its locks. */
export const KEEPALIVE =
  'SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;';
