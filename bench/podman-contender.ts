/** Podman, with its images and states in a directory of the bench's own; its containers have no network. */
import { join } from 'node:path';
import { run } from '../server/src/platform/command.ts';
import { findProgram } from '../server/src/platform/find-program.ts';
import { type ContainerCommand, IDLE, prepare } from './container-contender.ts';

/** It would raise both to a million, which not every machine allows. */
const RUN_FLAGS = ['--ulimit=nofile=1024:1024', '--ulimit=nproc=1024:1024'];

/** @throws Error saying why Podman cannot take part */
export async function startPodman({
  tar,
  scratch,
}: {
  readonly tar: string;
  readonly scratch: string;
}): Promise<ContainerCommand> {
  if (!findProgram('podman')) throw new Error('Podman (Debian package podman) is not installed');
  const dir = join(scratch, 'podman');
  const command = (...args: string[]): [string, ...string[]] => [
    'podman',
    ...['--root', join(dir, 'root'), '--runroot', join(dir, 'run'), '--cgroup-manager=cgroupfs'],
    ...(args[0] === 'run' ? ['run', ...RUN_FLAGS, ...args.slice(1)] : args),
  ];
  const close = async () => {
    await run(command('rm', '--force', '--all'));
    await run(command('system', 'reset', '--force'));
  };
  try {
    await prepare(command, tar);
  } catch (error) {
    await close();
    throw error;
  }
  return { command, idle: IDLE, close };
}
