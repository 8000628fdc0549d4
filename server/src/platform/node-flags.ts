/** How Node is to run the server: what must be said before it starts. Measured in docs/decisions/0029-what-streams-and-execs-cost.md. */

/** Has Node start a program of ours from what an earlier start made of its sources: for those that are started often. */
export const fromCompileCache = `--import=${new URL('compile-cache.mjs', import.meta.url).href}`;

/** Words between Node and the server. */
export const nodeFlags: readonly string[] = [
  // MiB of each half of the young generation, of which V8 keeps three: with its own 16 an idle server holds 28 MiB more, and nothing is faster.
  '--max-semi-space-size=4',
  // The bytes of streams lie outside of V8's heap. It would count them as growth of the old generation all the same, and mark the whole of that for every 25 MiB that pass.
  '--external-memory-accounted-in-global-limit',
  // The heap is marked when it, with such bytes, is three times as large as after the last marking. Left to itself V8 takes as much as four times, but where little else happens little more than once:
  // then it marks for every 15 MiB that pass, which is more than half of what a stream takes of the processor (docs/decisions/0061-what-an-operation-takes-of-the-processor.md).
  '--heap-growing-percent=200',
  fromCompileCache,
];
