/**
 * What is found or made at the first call, for all calls, also those that come before it is there. After a failure the next call tries again.
 * @returns a function that settles as `make` did
 */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
