/**
 * Whether there is room for another sandbox: on the server, beside those that its token made, and in its environment. Nothing may come between the question and what it is asked for: the sandbox is counted from the
 * moment it is admitted, or begins to wake.
 */
import type { Quotas } from '../auth/quotas.ts';
import { SkerryError } from '../errors/skerry-error.ts';

export type { Quotas };

/** What sandboxes take. */
export interface Taken {
  readonly sandboxes: number;
  readonly milliCpu: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** A sandbox, as far as quotas are concerned. */
export interface Counted {
  readonly takes: Taken;
  /** It takes no more than disk. */
  readonly isAsleep: boolean;
}

export const takenBy = (sandboxes: readonly Counted[]): Taken => {
  const awake = sandboxes.filter(({ isAsleep }) => !isAsleep);
  return {
    sandboxes: awake.length,
    milliCpu: sum(awake, 'milliCpu'),
    memoryMiB: sum(awake, 'memoryMiB'),
    diskMiB: sum(sandboxes, 'diskMiB'),
  };
};

/** How somebody comes to a larger one. */
const LARGER = {
  token: 'have a token made with a larger one',
  environment: 'have it raised (skerry environment quota)',
} as const;

const sum = (sandboxes: readonly Counted[], what: keyof Taken): number =>
  sandboxes.reduce((total, { takes }) => total + takes[what], 0);

/** Somebody's quotas, and what their sandboxes take. */
export interface Bound {
  readonly whose: 'token' | 'environment';
  readonly quotas: Quotas;
  readonly used: Taken;
}

/**
 * @param times so many of them are wanted
 * @throws SkerryError `quota-exceeded`, which says of what, how much is used and how much was wanted
 */
export function requireQuotas({ whose, quotas, used }: Bound, times: number, each: Taken): void {
  const bounds = [
    ['sandboxes', quotas.maxSandboxes, 'sandboxes', (count: number) => `${count}`],
    ['CPU', quotas.maxMilliCpu, 'milliCpu', (milliCpu: number) => `${milliCpu / 1000}`],
    ['memory', quotas.maxMemoryMiB, 'memoryMiB', (mib: number) => `${mib} MiB`],
    ['disk', quotas.maxDiskMiB, 'diskMiB', (mib: number) => `${mib} MiB`],
  ] as const;
  for (const [name, most, what, shown] of bounds) {
    const more = times * each[what];
    if (most === undefined || more === 0 || used[what] + more <= most) continue;
    throw new SkerryError(
      'quota-exceeded',
      `The ${whose}'s quota of ${name} is ${shown(most)}; its sandboxes take ${shown(used[what])}, and this would take ${shown(more)} more. ` +
        `${what === 'diskMiB' ? 'End' : 'End or suspend'} some of them, or ${LARGER[whose]}.`,
    );
  }
}

/** Whether the server has room for another sandbox beside those that have not ended. @throws SkerryError `resource-exhausted` */
export function requireRoom(running: number, most: number): void {
  if (running < most) return;
  throw new SkerryError('resource-exhausted', `All ${most} sandboxes this server may run are in use.`);
}
