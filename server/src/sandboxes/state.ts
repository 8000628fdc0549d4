/** A sandbox's states and results, in words that everybody shares. How one follows from another is in `life.ts`. */
import type { AgentExit } from '../agent/frames.ts';

/** `suspended`: it is on the disk alone, and wakes when somebody needs it. `stopping`: its end is sure, and it is being taken away. */
export type SandboxState = 'created' | 'starting' | 'running' | 'suspended' | 'stopping' | 'ended';

/** Why a sandbox ended. Data, not prose: every surface words it for its own readers. */
export type SandboxResult =
  /** The entrypoint ended by itself; `exitCode` is 128+n when signal n killed it. */
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'terminated' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'idle-timeout' }
  /** The kernel killed it for exceeding its memory limit. */
  | { readonly kind: 'out-of-memory' }
  /** It never came to run its entrypoint. */
  | { readonly kind: 'start-failed'; readonly message: string }
  /** The agent, the runtime or the machine failed under it. */
  | { readonly kind: 'crashed'; readonly message: string };

/** How a process ended. */
export type ProcessExit =
  | { readonly kind: 'code'; readonly code: number; readonly timedOut: boolean }
  | { readonly kind: 'signal'; readonly signal: number; readonly timedOut: boolean };

/** The shell's convention: 128+n for signal n. */
export const exitCodeOf = (exit: ProcessExit): number =>
  exit.kind === 'code' ? exit.code : 128 + exit.signal;

/** The same from the agent's words. */
export function toProcessExit(exit: AgentExit): ProcessExit {
  const { timedOut } = exit;
  return exit.kind === 'code'
    ? { kind: 'code', code: exit.value, timedOut }
    : { kind: 'signal', signal: exit.value, timedOut };
}
