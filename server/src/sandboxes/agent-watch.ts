/**
 * Notices an agent that does not answer although its sandbox lives: whatever a program inside or a full machine did to it, every call about the sandbox would
 * wait for ever.
 */
import type { AgentClient } from '../agent/agent-client.ts';
import { delay } from '../platform/wait.ts';

const TIMES = {
  lookEveryMs: 5_000,
  answerWithinMs: 5_000,
  /** A busy machine may keep an agent from answering for a while; this long is more than that. */
  lostAfterMs: 60_000,
};

export interface WatchedAgent {
  readonly agent: Pick<AgentClient, 'stats'>;
  /** `Instance.wake`. */
  readonly wake: () => Promise<void>;
  /** `Instance.silenceMs`. */
  readonly silenceMs?: number | undefined;
  /** Whether anybody waits for something of the agent: a sandbox that only idles is left alone. */
  readonly isNeeded: () => boolean;
  /** Whether the sandbox is held on purpose. */
  readonly isPaused: () => boolean;
}

/** Wakes an agent that does not answer. Returns when it is lost. @throws the signal's reason */
export async function watchAgent(
  { agent, wake, isNeeded, isPaused, silenceMs }: WatchedAgent,
  signal: AbortSignal,
  { lookEveryMs, answerWithinMs, lostAfterMs } = TIMES,
): Promise<void> {
  const mayBeSilentMs = silenceMs ?? lostAfterMs;
  let silentSince: number | undefined;
  for (;;) {
    if (silentSince === undefined) await delay(lookEveryMs, signal);
    if (!isNeeded() || isPaused()) {
      silentSince = undefined;
      continue;
    }
    const askedAt = performance.now();
    try {
      await agent.stats(AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs)]));
      silentSince = undefined;
    } catch {
      signal.throwIfAborted();
      silentSince ??= askedAt;
      if (performance.now() - silentSince > mayBeSilentMs) return;
      if (!isPaused()) await wake().catch(() => {}); // it is asked again
    }
  }
}
