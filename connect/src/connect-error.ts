/** A failure that was foreseen: its message says what to do and is shown without a stack. */
export class ConnectError extends Error {
  override readonly name = 'ConnectError';
  /** 2 for wrong usage, 1 for everything else. */
  readonly exitStatus: number;
  /** True when the same attempt may succeed later: the server restarts, the network is away. */
  readonly passing: boolean;

  constructor(
    message: string,
    {
      exitStatus = 1,
      passing = false,
      cause,
    }: { exitStatus?: number; passing?: boolean; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitStatus = exitStatus;
    this.passing = passing;
  }
}

export const usageError = (message: string): ConnectError => new ConnectError(message, { exitStatus: 2 });
