/** Why a sandbox ended, in the words and numbers of the clients (docs/protocol/control-plane.md, "Results"). */
import { describeResult } from '../../../sandboxes/result-text.ts';
import type { SandboxResult } from '../../../sandboxes/state.ts';
import { GenericResult_GenericStatus as Status } from '../gen/modal/common_pb.ts';

/** The fields of a `GenericResult` that mean something for a sandbox. */
export interface WireResult {
  status: Status;
  exception: string;
  exitcode: number;
}

/** Shell convention for a process killed by SIGKILL, which is what happens to the programs of a sandbox that is ended from outside. */
const KILLED = 137;
/** As for an exec that could not be started. */
const UNSTARTED = 128;
/** What `timeout(1)` exits with; the clients report it for TIMEOUT whatever is sent. */
const TIMED_OUT = 124;

export function toGenericResult(result: SandboxResult): WireResult {
  const exception = result.kind === 'exited' ? '' : describeResult(result);
  switch (result.kind) {
    case 'exited':
      return {
        status: result.exitCode === 0 ? Status.SUCCESS : Status.FAILURE,
        exception,
        exitcode: result.exitCode,
      };
    case 'terminated':
      return { status: Status.TERMINATED, exception, exitcode: KILLED };
    case 'timeout':
      return { status: Status.TIMEOUT, exception, exitcode: TIMED_OUT };
    case 'idle-timeout':
      return { status: Status.IDLE_TIMEOUT, exception, exitcode: KILLED };
    case 'out-of-memory':
      return { status: Status.KERNEL_OOM_KILL, exception, exitcode: KILLED };
    case 'start-failed':
      return { status: Status.INIT_FAILURE, exception, exitcode: UNSTARTED };
    case 'crashed':
      return { status: Status.INTERNAL_FAILURE, exception, exitcode: 1 };
    default:
      return result satisfies never;
  }
}
