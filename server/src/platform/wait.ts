/** Waiting with a deadline and a way out. */

/** Resolves after `ms`, or rejects with the signal's reason when it is aborted first. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Who waits for a promise that has not settled yet. */
type Waiter = (settle: { ok: boolean; value: unknown }) => void;

/**
 * The waiters of each promise. A reaction that was once added to a promise cannot be taken away: somebody who waits for a process of days, a moment at a time,
 * would add up. So each promise gets one, and the waiters come and go.
 */
const waiters = new WeakMap<Promise<unknown>, Set<Waiter>>();

function waitersOf(promise: Promise<unknown>): Set<Waiter> {
  const known = waiters.get(promise);
  if (known) return known;
  const made = new Set<Waiter>();
  waiters.set(promise, made);
  const settle = (ok: boolean) => (value: unknown) => {
    waiters.delete(promise); // whoever comes now hears of it from the promise itself
    for (const waiter of made) waiter({ ok, value });
  };
  promise.then(settle(true), settle(false));
  return made;
}

/** `promise`, unless the signal is aborted first: then its reason is thrown, and nothing of the wait is left at either. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {}); // nobody hears of it any more
    return Promise.reject(signal.reason);
  }
  const others = waitersOf(promise);
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      others.delete(waiter);
      reject(signal.reason);
    };
    const waiter: Waiter = ({ ok, value }) => {
      signal.removeEventListener('abort', onAbort);
      if (ok)
        resolve(value as T); // what the promise gave
      else reject(value);
    };
    others.add(waiter);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** The longest a Node timer can be set for. */
const MAX_TIMER_MS = 0x7fffffff;

/** `promise`, unless `ms` pass (then `undefined`) or the signal is aborted (then its reason is thrown). The timer never outlives the call. */
export async function withDeadline<T>(
  promise: Promise<T>,
  ms: number,
  signal?: AbortSignal,
): Promise<T | undefined> {
  const passed = new AbortController();
  const timer = setTimeout(() => passed.abort(), Math.min(ms, MAX_TIMER_MS));
  try {
    return await unlessAborted(promise, signal ? AbortSignal.any([signal, passed.signal]) : passed.signal);
  } catch (error) {
    if (passed.signal.aborted && error === passed.signal.reason) return undefined;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
