/** The contenders of a bench take turns, so that whatever else the machine does hits all of them. */
import { delay } from '../server/src/platform/wait.ts';
import type { Contender } from './contender.ts';
import { say } from './page.ts';
import { type Results, summarize } from './statistics.ts';

export const measures = [
  { key: 'createToFirstOutput', title: 'Create to first output' },
  { key: 'execRoundTrip', title: 'Exec round trip' },
] as const;

/** What one still does after its turn, like making what it has ready, is not to be in the next one's time. */
const REST_MS = 500;

/** One round more than is counted: the first warms up. @param restMs between two turns */
export async function takeTurns(
  contenders: readonly Contender[],
  rounds: number,
  restMs = REST_MS,
): Promise<Results> {
  const samples = measures.map(() => contenders.map((): number[] => []));
  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
    for (const [one, contender] of contenders.entries()) {
      for (const [what, { key }] of measures.entries()) {
        await delay(restMs);
        const ms = await contender[key]();
        if (round > 0) samples[what]?.[one]?.push(ms);
      }
    }
  }
  return new Map(
    measures.map(({ title }, what) => [
      title,
      new Map(contenders.map(({ name }, one) => [name, summarize(samples[what]?.[one] ?? [])])),
    ]),
  );
}
