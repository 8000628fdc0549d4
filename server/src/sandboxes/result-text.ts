/** Why a sandbox ended, in words, for error messages and its log. */
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId } from '../ids.ts';
import type { SandboxSpec } from './spec.ts';
import type { SandboxResult } from './state.ts';

/** The error of what needs a running sandbox. Programs look for "already completed". `what` is what its callers know it by. */
export function sandboxEnded(
  { id, result }: { readonly id: SandboxId; readonly result: SandboxResult | undefined },
  what = `Sandbox ${id}`,
): SkerryError {
  const why = result ? `: ${describeResult(result).replace(/\.$/, '')}` : '';
  return new SkerryError('sandbox-ended', `${what} has already completed${why}.`);
}

/** What callers know a sandbox or sidecar by. */
export const labelOf = ({ id, spec }: { readonly id: SandboxId; readonly spec: SandboxSpec }): string =>
  spec.sidecarOf ? `Sidecar '${spec.sidecarOf.name}' of ${spec.sidecarOf.sandboxId}` : `Sandbox ${id}`;

/** The error of a readiness probe that did not succeed in the time its caller gave it. */
export const notReadyWithin = (timeoutMs: number): SkerryError =>
  new SkerryError('deadline-exceeded', `The readiness probe did not succeed within ${timeoutMs / 1000} s.`);

/** One clause that completes "The sandbox ended: ". */
export function describeResult(result: SandboxResult): string {
  switch (result.kind) {
    case 'exited':
      return `its program exited with status ${result.exitCode}`;
    case 'terminated':
      return 'it was terminated';
    case 'timeout':
      return 'it reached its timeout';
    case 'idle-timeout':
      return 'it was idle for longer than its idle timeout';
    case 'out-of-memory':
      return 'it exceeded its memory limit';
    case 'start-failed':
      return `it could not start: ${result.message}`;
    case 'crashed':
      return `it failed: ${result.message}`;
    default:
      return result satisfies never;
  }
}
