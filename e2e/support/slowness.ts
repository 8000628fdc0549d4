/** How much longer than on a machine of this decade everything may take: `SKERRY_TEST_SLOWNESS`, 1 by default. Emulated machines need 20. */
const slowness = Math.max(1, Number(process.env.SKERRY_TEST_SLOWNESS) || 1);

/** Whether this machine is so slow that what is repeated to find rare faults is repeated less often. */
export const isSlow = slowness >= 10;

/** A deadline, in milliseconds, as long as this machine needs. Only for what must not hang; nothing is measured by it. */
export const patient = (ms: number): number => ms * slowness;

/** The same for programs in other languages that tests start. */
export const slownessEnvironment = { SKERRY_TEST_SLOWNESS: String(slowness) } as const;
