/**
 * Like `Promise.all`, but waits for every promise before it rejects with the first error: what is under way when one part fails must be over before
 * the clean-up begins.
 */
export async function settleAll<T extends readonly unknown[]>(
  promises: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  await Promise.allSettled(promises);
  // Each is settled, so this neither waits nor leaves a rejection unhandled; the cast names the tuple that Promise.all's type loses.
  return (await Promise.all(promises)) as unknown as T;
}
