/** What is tried at each of very many points: of some of them in CI, others each time, and of all by `npm run test:crash`. */

const isThorough = process.env.SKERRY_TEST_THOROUGH === '1';
const SHARE = 3;

/** @returns all of them in a thorough run; else a third, at random, in the same order */
export function drawn<T>(all: readonly T[]): readonly T[] {
  if (isThorough) return all;
  let wanted = Math.ceil(all.length / SHARE);
  // Each with the chance that those still wanted have among those still to come.
  return all.filter((_, index) => {
    const isDrawn = Math.random() * (all.length - index) < wanted;
    if (isDrawn) wanted--;
    return isDrawn;
  });
}
