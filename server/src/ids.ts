/**
 * Branded identifiers, and how they are made.
 *
 * The shapes are what the official clients accept (`docs/protocol/README.md`, "Ids"): a sandbox id has 22 characters after the dash only
 * where clients are to take it for a V1 sandbox, a task id ends in `V`, all are alphanumeric after the dash.
 */
import { randomInt } from 'node:crypto';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type AppId = Branded<'AppId'>;
export type EnvironmentId = Branded<'EnvironmentId'>;
export type SandboxId = Branded<'SandboxId'>;
/** One run of a sandbox. Every sandbox has exactly one from the moment it is created. */
export type TaskId = Branded<'TaskId'>;
/** What an engine runs. A task has one after the other, or none yet; one may wait that is no task's. */
export type InstanceId = Branded<'InstanceId'>;
export type ImageId = Branded<'ImageId'>;
export type LayerId = Branded<'LayerId'>;
/** A snapshot of a sandbox's memory. */
export type MemorySnapshotId = Branded<'MemorySnapshotId'>;
export type SecretId = Branded<'SecretId'>;
export type MountId = Branded<'MountId'>;
export type VolumeId = Branded<'VolumeId'>;
/** A layer of a volume's files. */
export type VolumeLayerId = Branded<'VolumeLayerId'>;
/** A volume in a running sandbox. */
export type VolumeMountId = Branded<'VolumeMountId'>;
/** Blocks of files on their way into a volume. */
export type UploadId = Branded<'UploadId'>;
export type BlobId = Branded<'BlobId'>;
/** One of several servers that share their records, for as long as its process lives. */
export type MemberId = Branded<'MemberId'>;
/** Identifies one exec of a sandbox. Chosen by the client (a UUID4): the same id twice is the same process. */
export type ProcessId = Branded<'ProcessId'>;

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

const random = (length: number): string =>
  Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');

// The casts below are the only places where a plain string becomes an id of the server's own making.
export const newAppId = (): AppId => `ap-${random(22)}` as AppId;
export const newEnvironmentId = (): EnvironmentId => `en-${random(22)}` as EnvironmentId;
/** Which of the two families of sandbox RPCs the clients use for a sandbox: they tell by its id, 22 characters after the dash for `v1`. */
export type SandboxIdShape = 'v1' | 'v2';
export const newSandboxId = (shape: SandboxIdShape = 'v2'): SandboxId =>
  `sb-${random(shape === 'v1' ? 22 : 26)}` as SandboxId;
export const sandboxIdShape = (id: SandboxId): SandboxIdShape =>
  id.length === 'sb-'.length + 22 ? 'v1' : 'v2';
/** True for text of either shape, whether there is such a sandbox or not. */
export const isSandboxId = (text: string): text is SandboxId =>
  /^sb-[0-9A-Za-z]{22}([0-9A-Za-z]{4})?$/.test(text);
export const newTaskId = (): TaskId => `ta-${random(25)}V` as TaskId;
export const newInstanceId = (): InstanceId => `in-${random(22)}` as InstanceId;
/** True for text that is shaped like one. Instances of versions that did not tell them from tasks have the task's id. */
export const isInstanceId = (text: string): text is InstanceId => /^(in|ta)-[0-9A-Za-z]{1,40}$/.test(text);
export const newImageId = (): ImageId => `im-${random(22)}` as ImageId;
export const newLayerId = (): LayerId => `ly-${random(22)}` as LayerId;
/** True for text of that shape, whether there is such a layer or not. */
export const isLayerId = (text: string): text is LayerId => /^ly-[0-9A-Za-z]{22}$/.test(text);
export const newMemorySnapshotId = (): MemorySnapshotId => `sn-${random(22)}` as MemorySnapshotId;
/** True for text of that shape, whether there is such a snapshot or not. */
export const isMemorySnapshotId = (text: string): text is MemorySnapshotId =>
  /^sn-[0-9A-Za-z]{22}$/.test(text);
/** A checkpoint that copies of a sandbox begin from at once, and that nobody else can begin from. */
export const newForkId = (): MemorySnapshotId => `fk-${random(22)}` as MemorySnapshotId;
/** True for text of that shape. */
export const isForkId = (text: string): text is MemorySnapshotId => /^fk-[0-9A-Za-z]{22}$/.test(text);
/** A checkpoint that sandboxes of an image begin from, whoever asks for them. */
export const newWarmUpId = (): MemorySnapshotId => `wu-${random(22)}` as MemorySnapshotId;
export const newSecretId = (): SecretId => `st-${random(22)}` as SecretId;
export const newMountId = (): MountId => `mo-${random(22)}` as MountId;
export const newVolumeId = (): VolumeId => `vo-${random(22)}` as VolumeId;
export const newVolumeLayerId = (): VolumeLayerId => `vl-${random(22)}` as VolumeLayerId;
export const newVolumeMountId = (): VolumeMountId => `vm-${random(22)}` as VolumeMountId;
export const newUploadId = (): UploadId => `up-${random(22)}` as UploadId;
/** True for text of an upload id's shape, whether there is such an upload or not. */
export const isUploadId = (text: string): text is UploadId => /^up-[0-9A-Za-z]{22}$/.test(text);
export const newMemberId = (): MemberId => `sv-${random(22)}` as MemberId;
/** True for text of that shape, whether there is such a server or not. */
export const isMemberId = (text: string): text is MemberId => /^sv-[0-9A-Za-z]{22}$/.test(text);
/** A process id for execs whose caller does not bring one (REST, V1 clients). */
export const newProcessId = (): ProcessId => `ex-${random(26)}` as ProcessId;

/** A file that an older client opened in a sandbox (`api/modal/legacy/files/`). */
export const newFileDescriptor = (): string => `fd-${random(22)}`;

/** The process id of a sandbox's entrypoint; no client can choose it, since client ids are checked to differ. */
export const ENTRYPOINT_PROCESS_ID = 'entrypoint' as ProcessId;
