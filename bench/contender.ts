/** One way of running a command in isolation, as the bench compares them. */
export interface Contender {
  /** As the table names it. */
  readonly name: string;
  /** From nothing to the first byte of output of `echo hello`. Milliseconds; tidying up is not counted. */
  createToFirstOutput(): Promise<number>;
  /** `true` in something that runs already: from the call to its exit status. Milliseconds. */
  execRoundTrip(): Promise<number>;
  close(): Promise<void>;
}

/** How long `work` takes, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
