/** What is tried at each of very many points: of some of them in CI, others each time, and of all by `npm run test:crash`. */

const isThorough = process.env.SKERRY_TEST_THOROUGH === '1';
const SHARE = 3;

/** @returns all of them in a thorough run; else a third, at random, in the same order */
export function drawn<T>(all: readonly T[]): readonly T[] {
  if (isThorough) return all;
  const left = all.map((_, index) => index);
  const chosen = new Set<number>();
  while (chosen.size < Math.ceil(all.length / SHARE)) {
    const [index = 0] = left.splice(Math.floor(Math.random() * left.length), 1);
    chosen.add(index);
  }
  return all.filter((_, index) => chosen.has(index));
}
