/**
 * Like `Promise.all`, but waits for every promise before it rejects: what is under way when one part fails must be over before the clean-up begins.
 * @throws what the one that failed threw; AggregateError when several did
 */
export async function settleAll<T extends readonly unknown[]>(
  promises: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  const failed = (await Promise.allSettled(promises)).flatMap((each) =>
    each.status === 'rejected' ? [each.reason] : [],
  );
  if (failed.length > 1) throw new AggregateError(failed, failed.map(String).join('; '));
  // Each is settled, so this neither waits nor leaves a rejection unhandled; the cast names the tuple that Promise.all's type loses.
  return (await Promise.all(promises)) as unknown as T;
}
