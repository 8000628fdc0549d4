/** What is thrown of a program that failed. */
import { SkerryError } from './core/errors.ts';

/** A program ended with another exit code than 0, and its caller wanted its output. */
export class CommandError extends SkerryError {
  override readonly name = 'CommandError';
  readonly exitCode: number;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;

  constructor(result: {
    readonly exitCode: number;
    readonly timedOut: boolean;
    readonly stdout: string;
    readonly stderr: string;
  }) {
    const { exitCode, timedOut, stdout, stderr } = result;
    const how = timedOut ? 'was killed at its timeout' : `ended with exit code ${exitCode}`;
    const last = stderr.trimEnd().split('\n').slice(-5).join('\n');
    super(
      {
        code: 'command-failed',
        message: `The program ${how}${last === '' ? '' : `:\n${last}\n`}`,
        suggestion: 'Use .nothrow(), or await exec() itself, where a failure is to be expected.',
        retryable: false,
      },
      { status: 0 },
    );
    this.exitCode = exitCode;
    this.timedOut = timedOut;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}
