/** A timer for a point in time, also beyond the 24.8 days a Node timer can hold. */
const MAX_TIMER_MS = 0x7fffffff;

/** Calls `action` at `atMs` (milliseconds since the epoch; at once when that is past). Returns how to call it off. */
export function setAlarm(atMs: number, now: () => number, action: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = () => {
    const leftMs = atMs - now();
    timer = leftMs > MAX_TIMER_MS ? setTimeout(arm, MAX_TIMER_MS) : setTimeout(action, Math.max(0, leftMs));
  };
  arm();
  return () => clearTimeout(timer);
}
