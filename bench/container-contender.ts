/** What commands like Docker's and Podman's do, as a user calls them: each is a whole program's run. */
import { run } from '../server/src/platform/command.ts';
import { type Contender, timed } from './contender.ts';
import { timeToFirstByte } from './oci-contender.ts';

export interface ContainerCommand {
  /** Arguments for a command of this engine, whose image `bench` is there. */
  command(...args: string[]): [string, ...string[]];
  /** The name of a container that runs and does nothing. */
  readonly idle: string;
  close(): Promise<void>;
}

export const IDLE = 'bench-idle';
const IMPORT_MS = 300_000;

/** Brings the image, and starts the container that does nothing. */
export async function prepare(command: ContainerCommand['command'], tar: string): Promise<void> {
  await run(command('import', tar, 'bench'), { timeoutMs: IMPORT_MS });
  await run(
    command(
      'run',
      '--detach',
      '--network=none',
      '--stop-timeout=0',
      '--name',
      IDLE,
      'bench',
      'sleep',
      'infinity',
    ),
  );
}

export const containerContender = (name: string, { command, idle, close }: ContainerCommand): Contender => ({
  name,
  createToFirstOutput: () =>
    timeToFirstByte(command('run', '--rm', '--network=none', 'bench', 'echo', 'hello')),
  execRoundTrip: () => timed(() => run(command('exec', idle, 'true'))),
  close,
});

/** Starts a container that is there until the function it resolves to is called. */
export async function startDetached({ command }: ContainerCommand): Promise<() => Promise<void>> {
  const { stdout } = await run(command('run', '--detach', '--network=none', 'bench', 'sleep', 'infinity'));
  return async () => {
    await run(command('kill', stdout.trim()));
    await run(command('rm', '--force', stdout.trim()));
  };
}
