/** Waiting for something outside this process, with a sign of life on standard error. */
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 50;
const QUIET_MS = 2_000;
const REPORT_MS = 5_000;

/**
 * Calls `look` until it returns something, at most `timeoutMs`; then undefined. After two seconds, and every five from then on, it
 * says what is being waited for.
 */
export async function waitUntil<T>(
  what: string,
  timeoutMs: number,
  look: () => T | undefined,
  report: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): Promise<T | undefined> {
  const started = performance.now();
  let nextReport = QUIET_MS;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    const elapsed = performance.now() - started;
    if (elapsed >= timeoutMs) return undefined;
    if (elapsed >= nextReport) {
      report(`… ${what} (${Math.round(elapsed / 1000)} s)`);
      nextReport += REPORT_MS;
    }
    await sleep(POLL_MS);
  }
}
