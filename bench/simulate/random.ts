/** Chance that is the same each time, by its seed. */

/** Numbers from 0 up to, and never, 1. */
export type Random = () => number;

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state are plenty for the some hundred thousand draws of a simulation. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How long until the next of what happens independently, so often on average: exponentially distributed. */
export const exponential = (random: Random, mean: number): number => -Math.log(1 - random()) * mean;
