/** Looks at a database over a connection of its own, without the lock: a server may work on it. */
import { connectTo, type DatabaseSource } from './connection.ts';
import { checkFit } from './fitness.ts';

const STATEMENTS = 9;

/**
 * @returns its version, and how long one statement takes there and back: the median of a few
 * @throws as `connectTo` and `checkFit`
 */
export async function probe(
  source: DatabaseSource,
): Promise<{ readonly version: string; readonly roundTripMs: number }> {
  const client = await connectTo(source, 'skerry check');
  try {
    const version = await checkFit(client, source);
    const timesMs: number[] = [];
    for (let count = 0; count < STATEMENTS; count++) {
      const askedAt = performance.now();
      await client.query('SELECT 1');
      timesMs.push(performance.now() - askedAt);
    }
    const roundTripMs = timesMs.toSorted((a, b) => a - b)[Math.floor(STATEMENTS / 2)] ?? 0;
    return { version, roundTripMs };
  } finally {
    client.end().catch(() => {});
  }
}
