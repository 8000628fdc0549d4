/** Keeps a directory of a sandbox that nobody sees into from outside and one of this machine alike: `skerry-trees collect` and `deliver` compare and decide. */
import type { MirroredTree } from '../engines/kubernetes/pod-agent.ts';
import { treeError } from '../engines/oci/trees.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { AgentClient } from './agent-client.ts';
import { converse } from './files-helper.ts';

/** Of the program, where that of the sandbox would not. */
const REFUSED = 6;

/** @throws as `MountCopies.collect` and `deliver` */
export function mirrorFiles(
  agent: AgentClient,
  which: 'collect' | 'deliver',
  { directory, state, path, seen }: MirroredTree,
  treesBinaryPath: string,
  signal: AbortSignal,
): Promise<void> {
  const program: [string, ...string[]] = [treesBinaryPath, which, directory, state];
  const files = [path, ...seen.flatMap(({ target, below }) => [target, below])];
  const failure = (code: number | null, words: string) =>
    code === REFUSED ? new SkerryError('resource-exhausted', words.trim()) : treeError(code, words);
  return converse(agent, { program, files, failure }, signal);
}
