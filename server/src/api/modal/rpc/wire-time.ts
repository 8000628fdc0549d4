/** Times on the wire are Unix seconds as doubles; the domain's are milliseconds. A double holds both exactly to the millisecond. */

/** 0 on the wire means "none". */
export const toSeconds = (ms: number | undefined): number => (ms === undefined ? 0 : ms / 1000);

/** 0 and anything that is no time mean "none". */
export const fromSeconds = (seconds: number): number | undefined =>
  Number.isFinite(seconds) && seconds > 0 ? Math.round(seconds * 1000) : undefined;

/** How long a client lets a call wait, in milliseconds: its wish in seconds, within 0 and `maxSeconds`. */
export const waitMs = (seconds: number, maxSeconds: number): number =>
  Number.isFinite(seconds) ? Math.round(Math.min(Math.max(seconds, 0), maxSeconds) * 1000) : 0;

/** A snapshot may take this long; far beyond the clients' own 55 s, it only keeps a stuck copy from living for ever. */
export const SNAPSHOT_DEADLINE_MS = 3_600_000;
