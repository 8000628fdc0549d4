/** What must be remembered of a running instance to take it over after a restart: one small file, written when the instance is up. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type InstanceId, isInstanceId, type LayerId } from '../../ids.ts';
import type { LeaseRecord } from '../../network/network.ts';
import { networkPolicySchema } from '../../network/policy.ts';
import { replaceFile } from '../../platform/replace-file.ts';
import type { InstanceLayout } from './layout.ts';
import { processIdentitySchema } from './process-identity.ts';

const treeMountSchema = z.object({
  /** Its own among those of the instance. */
  slot: z.number().int().nonnegative(),
  /** As its caller named it, and as it is without links. */
  path: z.string(),
  place: z.string(),
  /** The kernel's numbers of its mounts, the last one made first. */
  ids: z.array(z.string()),
  layers: z.array(z.custom<LayerId>((value) => typeof value === 'string')),
});

const recordSchema = z.object({
  version: z.literal(1),
  runtime: z.enum(['gvisor', 'runc']),
  init: processIdentitySchema,
  /** The instance whose network it shares; it then has no slot of its own, and `policy` means nothing. */
  joins: z.custom<InstanceId>((value) => typeof value === 'string' && isInstanceId(value)).optional(),
  slot: z.number().int().positive().optional(),
  /** Earlier versions knew one kind. */
  addressing: z.enum(['constant', 'own']).default('own'),
  policy: networkPolicySchema,
  /** The network of the programs of its buckets, where it has any. */
  bucketNetwork: z
    .object({ slot: z.number().int().positive(), addressing: z.enum(['constant', 'own']) })
    .optional(),
  /** What id 0 of its user namespace is on the machine. Without one, as under gVisor and in earlier versions, its users are the machine's. */
  firstId: z.number().int().positive().optional(),
  /** Those it has, and what its programs are to know of them. */
  devices: z.array(z.string()).optional(),
  deviceEnvironment: z.record(z.string(), z.string()).optional(),
  /** SHA-256 of the agent's program that it was started with, under gVisor. Earlier versions did not keep it. */
  agent: z.string().optional(),
  /** Oldest first. */
  mounted: z.array(treeMountSchema).optional(),
});

/** A tree that was mounted while it ran. */
export type TreeMountRecord = z.infer<typeof treeMountSchema>;

export type InstanceRecord = z.infer<typeof recordSchema>;

/** The programs of buckets reach what an open sandbox does, whatever theirs may: its programs reach that bucket through them, and nothing else. */
export const BUCKET_POLICY = { kind: 'open' } as const;

/** The namespaces that the instance has. */
export function leasesOf({ slot, policy, addressing, bucketNetwork }: InstanceRecord): LeaseRecord[] {
  return [
    ...(slot === undefined ? [] : [{ slot, policy, addressing }]),
    ...(bucketNetwork === undefined ? [] : [{ ...bucketNetwork, policy: BUCKET_POLICY }]),
  ];
}

/** For a server that takes the instance over. */
export const writeRecord = (places: InstanceLayout, record: InstanceRecord): Promise<void> =>
  replaceFile(places.record, JSON.stringify(record));

/** Undefined when there is none, or none that this version understands. */
export async function readRecord(
  places: Pick<InstanceLayout, 'record'>,
): Promise<InstanceRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(places.record, 'utf8')));
  } catch {
    return undefined;
  }
}
