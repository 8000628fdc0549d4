/** Why a sandbox ended, in words, for error messages and its log. */
import type { SandboxResult } from './state.ts';

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
