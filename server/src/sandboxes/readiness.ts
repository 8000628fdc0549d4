/** Readiness probes: run inside the sandbox, so that a server bound to its loopback interface is found as well. */
import type { AgentClient } from '../agent/agent-client.ts';
import { runToExit } from '../agent/run-to-exit.ts';
import { GUEST_AGENT } from '../engines/paths.ts';
import { newProcessId } from '../ids.ts';
import { delay } from '../platform/wait.ts';
import type { ReadinessProbe } from './spec.ts';

/** One attempt may take this long before it counts as failed. */
const ATTEMPT_TIMEOUT_MS = 10_000;

/**
 * Tries until the probe succeeds.
 * @throws the signal's reason when aborted, which is how the sandbox's end stops it
 */
export async function waitUntilProbeSucceeds(
  probe: ReadinessProbe,
  agent: AgentClient,
  start: { readonly env: Readonly<Record<string, string>>; readonly cwd: string; readonly user: string },
  signal: AbortSignal,
): Promise<void> {
  const argv =
    probe.check.kind === 'exec' ? probe.check.argv : [GUEST_AGENT, 'probe-tcp', String(probe.check.port)];
  while (!(await attempt(argv, agent, start, signal))) await delay(probe.intervalMs, signal);
}

async function attempt(
  argv: readonly string[],
  agent: AgentClient,
  start: { readonly env: Readonly<Record<string, string>>; readonly cwd: string; readonly user: string },
  signal: AbortSignal,
): Promise<boolean> {
  const request = {
    id: newProcessId(),
    argv,
    ...start,
    timeoutMs: ATTEMPT_TIMEOUT_MS,
    stdout: 'null',
    stderr: 'null',
  } as const;
  try {
    const exit = await runToExit(agent, request, () => {}, signal);
    return exit.kind === 'code' && exit.value === 0;
  } catch {
    signal.throwIfAborted();
    return false; // a probe program that is not there yet is a probe that does not succeed yet
  }
}
