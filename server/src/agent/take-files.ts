/**
 * Files of a sandbox that nobody sees into from outside, as a layer: the agent's program `files` says what there is and gives what is asked for, `skerry-trees take`
 * compares and writes.
 */
import type { TakeFiles } from '../engines/kubernetes/pod-agent.ts';
import { treeError } from '../engines/oci/trees.ts';
import type { AgentClient } from './agent-client.ts';
import { converse } from './files-helper.ts';

/** @throws as `PodAgent.takeFiles` */
export async function takeFiles(
  agent: AgentClient,
  { path, layers, target }: TakeFiles,
  treesBinaryPath: string,
  signal: AbortSignal,
): Promise<void> {
  const since = await agent.begun(signal);
  const program = [treesBinaryPath, 'take', target, String(since), ...layers] as const;
  await converse(agent, { program: [...program], files: [path], failure: treeError }, signal);
}
