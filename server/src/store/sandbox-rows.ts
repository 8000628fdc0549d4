/** Between the columns of `sandboxes` and the domain's rows. */
import { z } from 'zod';
import {
  type AppId,
  type EnvironmentId,
  type ImageId,
  type InstanceId,
  isInstanceId,
  type MountId,
  type SandboxId,
  type SecretId,
  type TaskId,
} from '../ids.ts';
import type { ExitSnapshot } from '../sandboxes/exit-snapshot.ts';
import type { SandboxRow } from '../sandboxes/repositories.ts';
import type { Sleep } from '../sandboxes/sleep.ts';
import type { SandboxSpec } from '../sandboxes/spec.ts';
import type { SandboxResult } from '../sandboxes/state.ts';

const rowSchema = z.object({
  id: z.string(),
  task_id: z.string(),
  app_id: z.string(),
  environment_id: z.string(),
  image_id: z.string(),
  token_id: z.string().nullable(),
  name: z.string().nullable(),
  tags: z.string(),
  state: z.enum(['created', 'starting', 'running', 'suspended', 'stopping', 'ended']),
  instance_id: z.custom<InstanceId>((value) => typeof value === 'string' && isInstanceId(value)).nullable(),
  sleep: z.string().nullable(),
  spec: z.string(),
  env_ciphertext: z.instanceof(Uint8Array).nullable(),
  buckets_ciphertext: z.instanceof(Uint8Array).nullable(),
  result: z.string().nullable(),
  exit_snapshot: z.string().nullable(),
  created_at_ms: z.number(),
  started_at_ms: z.number().nullable(),
  ended_at_ms: z.number().nullable(),
  deadline_ms: z.number().nullable(),
  ready_at_ms: z.number().nullable(),
});

/** The part of a spec that has no column of its own. Inline secret values are left out: they are in the sealed environment. */
type StoredSpec = Omit<
  SandboxSpec,
  'appId' | 'environmentId' | 'imageId' | 'name' | 'tags' | 'externalKey' | 'secretSources' | 'mountIds'
> & {
  readonly secretIds: readonly SecretId[];
  readonly mountIds: readonly MountId[];
  readonly externalKey: string | null;
};

/** @throws ZodError for what is no row of that table */
export function toRow(raw: unknown): SandboxRow {
  const row = rowSchema.parse(raw);
  // Written by `storedSpec` and by nothing else, so the shape is known.
  const stored = JSON.parse(row.spec) as StoredSpec;
  const { secretIds, externalKey, ...rest } = stored;
  const tags = JSON.parse(row.tags) as Record<string, string>;
  const name = row.name ?? undefined;
  return {
    id: row.id as SandboxId,
    taskId: row.task_id as TaskId,
    tokenId: row.token_id ?? undefined,
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
      appId: row.app_id as AppId,
      environmentId: row.environment_id as EnvironmentId,
      imageId: row.image_id as ImageId,
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
