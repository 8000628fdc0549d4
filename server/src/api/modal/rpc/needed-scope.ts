/** What a token needs for each RPC of the control plane. What is not named here changes something, or opens what does. */
import type { Scope } from '../../../auth/scopes.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';

/** RPCs that look at something and change nothing. */
export const lookingRpcs: ReadonlySet<string> = new Set([
  'AppCountLogs',
  'AppFetchLogs',
  'AppGetByDeploymentName',
  'AppGetInfo',
  'AppGetLayout',
  'AppGetLifecycle',
  'AppGetLogs',
  'AppGetTags',
  'AppList',
  'AuthTokenGet',
  'BlobGet',
  'CliCommandSuggest',
  'ClientHello',
  'ClusterList',
  'ContainerExecGetOutput',
  'ContainerExecWait',
  'EnvironmentList',
  'ImageBuildChainGet',
  'ImageFromId',
  'ImageGetByTag',
  'ImageJoinStreaming',
  'ImageListTags',
  'ImageTagRevisions',
  'ObjectSuggest',
  'SandboxGetExitSnapshot',
  'SandboxGetExitSnapshotV2',
  'SandboxGetFromName',
  'SandboxGetFromNameV2',
  'SandboxGetLogs',
  'SandboxGetTaskId',
  'SandboxGetTaskIdV2',
  'SandboxGetTunnels',
  'SandboxGetTunnelsV2',
  'SandboxList',
  'SandboxListV2',
  'SandboxSnapshotGet',
  'SandboxSnapshotWait',
  'SandboxTagsGet',
  'SandboxTagsGetV2',
  'SandboxWait',
  'SandboxWaitUntilReady',
  'SandboxWaitV2',
  'SecretGetInfo',
  'SecretList',
  'TaskCurrentInputs',
  'TaskGetInfo',
  'TaskList',
  'TokenInfoGet',
  'VolumeGetById',
  'VolumeGetFile',
  'VolumeGetFile2',
  'VolumeList',
  'VolumeListFiles',
  'VolumeListFiles2',
  'WorkspaceNameLookup',
]);

/** RPCs that find or make: they look where the message asks for nothing to be made. */
export const findingRpcs: ReadonlySet<string> = new Set([
  'AppGetOrCreate',
  'EnvironmentGetOrCreate',
  'MountGetOrCreate',
  'SecretGetOrCreate',
  'VolumeGetOrCreate',
]);

export function neededScope(rpc: string, message: object): Scope {
  if (lookingRpcs.has(rpc)) return 'read';
  const makesNothing =
    'objectCreationType' in message && message.objectCreationType === ObjectCreationType.UNSPECIFIED;
  return findingRpcs.has(rpc) && makesNothing ? 'read' : 'sandboxes';
}
