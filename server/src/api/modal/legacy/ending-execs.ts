/** Execs with which their sandbox ends (`terminate_container_on_exit`: what `modal shell` runs), also when the server was restarted meanwhile. */
import type { Process, Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { ExecKey, KeptExecs } from './kept-execs.ts';

export class EndingExecs {
  readonly #kept: KeptExecs;
  readonly #logger: Logger;

  constructor(kept: KeptExecs, logger: Logger) {
    this.#kept = kept;
    this.#logger = logger;
  }

  /** To be called before the exec: from now on the sandbox ends with it. */
  add(exec: ExecKey): void {
    this.#kept.endWith(exec);
  }

  /** Ends the sandbox when the process does. */
  watch(sandbox: Sandbox, process: Process): void {
    process
      .wait(new AbortController().signal)
      .then(() => sandbox.terminate())
      .catch((err: unknown) => this.#logger.error({ taskId: sandbox.taskId, err }, 'exec.end-failed'));
  }

  /** Once, after a start of the server: goes on watching what an earlier one did. */
  resume(sandboxes: Pick<Sandboxes, 'getByTask'>): void {
    for (const { taskId, processId } of this.#kept.ending()) {
      try {
        const sandbox = sandboxes.getByTask(taskId);
        this.watch(sandbox, sandbox.process(processId));
      } catch {
        // The exec was never made: the server ended before, and its caller asks again.
      }
    }
  }
}
