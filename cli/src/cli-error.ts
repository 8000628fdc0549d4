/** Exit statuses of the command: 0 done, 1 failed, 2 wrong usage or configuration, 3 the server is not running. */
export const ExitStatus = { failed: 1, usage: 2, notRunning: 3 } as const;

/** A failure that was foreseen: its message goes to standard error as it is, without a stack. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitStatus: number;

  constructor(message: string, exitStatus: number = ExitStatus.failed) {
    super(message);
    this.exitStatus = exitStatus;
  }
}
