/** One sentence about why a sandbox ended, for error messages and its log. */
import type { SandboxResult } from './state.ts';

export function describeResult(result: SandboxResult): string {
  switch (result.kind) {
    case 'exited':
      return `its entrypoint ended with exit code ${result.exitCode}.`;
    case 'terminated':
      return 'it was terminated.';
    case 'timeout':
      return 'its timeout passed.';
    case 'idle-timeout':
      return 'it was idle for longer than its idle timeout.';
    case 'out-of-memory':
      return 'it exceeded its memory limit and was killed.';
    case 'start-failed':
      return `it could not be started: ${result.message}`;
    case 'crashed':
      return `it crashed: ${result.message}`;
    default:
      return result satisfies never;
  }
}
