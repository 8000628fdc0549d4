/** Looks at the sandboxes of a test's server that wait for somebody. */
import type { z } from 'zod';
import { warmPoolSchema } from '../../cli/src/commands/warm.ts';
import { askServer } from '../../cli/src/operator.ts';
import { delay } from '../../server/src/platform/wait.ts';
import type { TestServer } from './server.ts';
import { patient } from './slowness.ts';

type WarmKind = z.infer<typeof warmPoolSchema>['kinds'][number];

export const warmKinds = async ({ url, dataDir }: TestServer): Promise<readonly WarmKind[]> =>
  (await askServer({ url }, dataDir, { method: 'GET', path: 'warm' }, warmPoolSchema)).kinds;

/** As many wait as are to. */
export const isFull = (kinds: readonly WarmKind[]): boolean =>
  kinds.length > 0 && kinds.every(({ waiting, making, wanted }) => waiting === wanted && making === 0);

/** Resolves once it holds of the kinds. @throws when it never does */
export async function untilWarm(
  server: TestServer,
  holds: (kinds: readonly WarmKind[]) => boolean,
): Promise<readonly WarmKind[]> {
  const signal = AbortSignal.timeout(patient(60_000));
  for (;;) {
    const kinds = await warmKinds(server);
    if (holds(kinds)) return kinds;
    await delay(20, signal);
  }
}
