/** Waits, for a while and for what the server makes. */
import { NotReadyError, WaitTimeoutError } from './errors.ts';

/** One wait on the server; longer ones are made of several, so that no proxy takes the connection for dead. */
const WAIT_STEP_SECONDS = 30;
const DEFAULT_RETRY_SECONDS = 5;

/**
 * Makes a call that the server answers with "not yet" while it fetches or builds the image, again and again.
 * @param field the field of the request that names the image
 * @throws WaitTimeoutError once `timeoutMs` passed
 */
export async function untilImage<T>(
  call: () => Promise<T>,
  { field, timeoutMs, signal }: { field: string; timeoutMs: number; signal: AbortSignal | undefined },
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      // 503 about the image: it is being made, and this call is how to ask whether it is there.
      if (!(error instanceof NotReadyError) || error.path !== field) throw error;
      const pauseMs = (error.retryAfterSeconds ?? DEFAULT_RETRY_SECONDS) * 1000;
      if (Date.now() + pauseMs > deadline) throw waitTimeout('The image', timeoutMs, error);
      await delay(pauseMs, signal);
    }
  }
}

/**
 * Makes a call that the server answers once something is so, or after as many seconds as it is asked to wait with "not yet", until it is so.
 * @param what stands in the message of the error
 * @throws WaitTimeoutError once `timeoutMs` passed
 */
export async function untilSo<T>(
  call: (timeoutSeconds: number) => Promise<T>,
  what: string,
  timeoutMs: number,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const left = Math.max(0, (deadline - Date.now()) / 1000);
    try {
      return await call(Math.min(left, WAIT_STEP_SECONDS));
    } catch (error) {
      if (!(error instanceof NotReadyError)) throw error;
      if (Date.now() >= deadline) throw waitTimeout(what, timeoutMs, error);
    }
  }
}

/** @throws the signal's reason when aborted meanwhile */
export function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
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

/** What work comes to, or that its caller gave up on it: then it goes on for others. @throws the signal's reason, and what the work throws */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function waitTimeout(what: string, ms: number, cause: NotReadyError): WaitTimeoutError {
  return new WaitTimeoutError(
    {
      code: 'wait-timeout',
      message: `${what} was not ready within ${ms / 1000} s.`,
      suggestion: 'Allow more time; it goes on meanwhile.',
      retryable: true,
    },
    { status: cause.status, retryAfterSeconds: cause.retryAfterSeconds, cause },
  );
}
