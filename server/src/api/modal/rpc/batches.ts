/** Puts together what a stream has at hand, so that a burst of small items costs few messages. */
import { setImmediate } from 'node:timers/promises';

/** Arrays of 1 to `max` items: everything that comes without waiting, then a new array. Ends and fails as `source` does. */
export async function* inBatches<T>(source: AsyncIterable<T>, max: number): AsyncGenerator<T[]> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    let next = iterator.next();
    for (;;) {
      const first = await next;
      if (first.done) return;
      const batch = [first.value];
      let ended = false;
      next = iterator.next();
      // The promise is awaited again in the next round: until then its rejection is not unhandled.
      next.catch(() => {});
      while (batch.length < max) {
        const ready = await Promise.race([next.catch(() => undefined), setImmediate(undefined)]);
        if (ready === undefined) break;
        if (ready.done) {
          ended = true;
          break;
        }
        batch.push(ready.value);
        next = iterator.next();
        next.catch(() => {});
      }
      yield batch;
      if (ended) return;
    }
  } finally {
    await iterator.return?.();
  }
}
