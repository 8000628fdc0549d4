/** What a collection takes: what was not used for too long, and of the rest what was used least recently until there is room. */

/** Something that is kept so that it need not be made or sent again. */
export interface Kept {
  readonly bytes: number;
  /** Unix milliseconds. */
  readonly lastUsedMs: number;
  /** It must stay. */
  readonly held: boolean;
  /** How many things are below it: what is on top goes first. */
  readonly depth: number;
}

export interface Bounds {
  /** Unix milliseconds. */
  readonly nowMs: number;
  /** What was not used for longer goes. */
  readonly maxAgeMs: number;
  /** What was used within this time stays, however little room there is; only age counts against it. */
  readonly protectMs: number;
  /** Of all that is not held, together. */
  readonly maxBytes: number;
  /** How much the disk lacks. */
  readonly missingBytes: number;
}

/** What of `kept` goes, least recently used first. */
export function doomedOf<K extends Kept>(kept: readonly K[], bounds: Bounds): readonly K[] {
  const { nowMs, maxAgeMs, protectMs, maxBytes, missingBytes } = bounds;
  const order = kept
    .filter(({ held }) => !held)
    .sort((a, b) => a.lastUsedMs - b.lastUsedMs || b.depth - a.depth);
  let left = order.reduce((sum, { bytes }) => sum + bytes, 0);
  let freed = 0;
  const doomed: K[] = [];
  for (const one of order) {
    const ageMs = nowMs - one.lastUsedMs;
    const crowded = left > maxBytes || freed < missingBytes;
    if (ageMs <= maxAgeMs && (ageMs <= protectMs || !crowded)) break;
    doomed.push(one);
    left -= one.bytes;
    freed += one.bytes;
  }
  return doomed;
}
