/** Between the columns of `sandboxes` and the domain's rows. */
import type {
  AppId,
  EnvironmentId,
  ImageId,
  InstanceId,
  MemberId,
  MountId,
  SandboxId,
  SecretId,
  TaskId,
} from '../ids.ts';
import type { ExitSnapshot } from '../sandboxes/exit-snapshot.ts';
import type { SandboxRow } from '../sandboxes/repositories.ts';
import type { Sleep } from '../sandboxes/sleep.ts';
import type { SandboxSpec } from '../sandboxes/spec.ts';
import type { SandboxResult } from '../sandboxes/state.ts';

/** What `toRow` reads, for statements: the table has more, which is reckoned anew for each row that is asked for. */
export const SANDBOX_COLUMNS = [
  ...[
    'id',
    'task_id',
    'app_id',
    'environment_id',
    'image_id',
    'token_id',
    'member_id',
    'name',
    'tags',
    'state',
  ],
  ...['instance_id', 'sleep', 'spec', 'env_ciphertext', 'buckets_ciphertext', 'result', 'exit_snapshot'],
  ...['created_at_ms', 'started_at_ms', 'ended_at_ms', 'deadline_ms', 'ready_at_ms'],
]
  .map((column) => `sandboxes.${column}`)
  .join(', ');

/** As `SqlSandboxes` writes it, and nothing else does. */
interface Columns {
  readonly id: SandboxId;
  readonly task_id: TaskId;
  readonly app_id: AppId;
  readonly environment_id: EnvironmentId;
  readonly image_id: ImageId;
  readonly token_id: string | null;
  readonly member_id: MemberId | null;
  readonly name: string | null;
  readonly tags: string;
  readonly state: SandboxRow['state'];
  readonly instance_id: InstanceId | null;
  readonly sleep: string | null;
  readonly spec: string;
  readonly env_ciphertext: Uint8Array | null;
  readonly buckets_ciphertext: Uint8Array | null;
  readonly result: string | null;
  readonly exit_snapshot: string | null;
  readonly created_at_ms: number;
  readonly started_at_ms: number | null;
  readonly ended_at_ms: number | null;
  readonly deadline_ms: number | null;
  readonly ready_at_ms: number | null;
}

/** The part of a spec that has no column of its own. Inline secret values are left out: they are in the sealed environment. */
type StoredSpec = Omit<
  SandboxSpec,
  'appId' | 'environmentId' | 'imageId' | 'name' | 'tags' | 'externalKey' | 'secretSources' | 'mountIds'
> & {
  readonly secretIds: readonly SecretId[];
  readonly mountIds: readonly MountId[];
  readonly externalKey: string | null;
};

/** @param raw a row of `SANDBOX_COLUMNS` */
export function toRow(raw: object): SandboxRow {
  const row = raw as Columns;
  // Written by `storedSpec` and by nothing else, so the shape is known.
  const stored = JSON.parse(row.spec) as StoredSpec;
  const { secretIds, externalKey, ...rest } = stored;
  const tags = JSON.parse(row.tags) as Record<string, string>;
  const name = row.name ?? undefined;
  return {
    id: row.id,
    taskId: row.task_id,
    tokenId: row.token_id ?? undefined,
    memberId: row.member_id ?? undefined,
    spec: {
      ...rest,
      workdir: rest.workdir,
      idleTimeoutMs: rest.idleTimeoutMs,
      runtime: rest.runtime,
      pty: rest.pty,
      readinessProbe: rest.readinessProbe,
      volumes: rest.volumes ?? [], // not there in rows of earlier versions
      secretSources: secretIds.map((id) => ({ kind: 'stored', id })),
      externalKey: externalKey ?? undefined,
      appId: row.app_id,
      environmentId: row.environment_id,
      imageId: row.image_id,
      name,
      tags,
    },
    name,
    tags,
    state: row.state,
    instance: row.instance_id ?? undefined,
    slept: row.sleep === null ? undefined : (JSON.parse(row.sleep) as Sleep), // written by `update` only
    sealedEnv: row.env_ciphertext ?? undefined,
    sealedBuckets: row.buckets_ciphertext ?? undefined,
    result: row.result === null ? undefined : (JSON.parse(row.result) as SandboxResult),
    exitSnapshot: row.exit_snapshot === null ? undefined : (JSON.parse(row.exit_snapshot) as ExitSnapshot), // written by `setExitSnapshot` only
    createdAtMs: row.created_at_ms,
    startedAtMs: row.started_at_ms ?? undefined,
    endedAtMs: row.ended_at_ms ?? undefined,
    deadlineMs: row.deadline_ms ?? undefined,
    readyAtMs: row.ready_at_ms ?? undefined,
  };
}

/** The text that `toRow` reads. */
export function storedSpec(spec: SandboxSpec): string {
  const { appId, environmentId, imageId, name, tags, externalKey, secretSources, buckets, ...rest } = spec;
  const secretIds = secretSources.flatMap((source) => (source.kind === 'stored' ? [source.id] : []));
  const plain = buckets && { buckets: buckets.map(({ secret: _, ...bucket }) => bucket) };
  return JSON.stringify({ ...rest, ...plain, secretIds, externalKey: externalKey ?? null });
}
