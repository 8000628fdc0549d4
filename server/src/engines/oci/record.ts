/** What must be remembered of a running instance to take it over after a restart: one small file, written when the instance is up. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { type InstanceId, isInstanceId } from '../../ids.ts';
import { networkPolicySchema } from '../../network/policy.ts';
import type { InstanceLayout } from './layout.ts';
import { processIdentitySchema } from './process-identity.ts';

const recordSchema = z.object({
  version: z.literal(1),
  runtime: z.enum(['gvisor', 'runc']),
  init: processIdentitySchema,
  /** The instance whose network it shares; it then has no slot of its own, and `policy` means nothing. */
  joins: z.custom<InstanceId>((value) => typeof value === 'string' && isInstanceId(value)).optional(),
  slot: z.number().int().positive().optional(),
  policy: networkPolicySchema,
});

export type InstanceRecord = z.infer<typeof recordSchema>;

export async function writeRecord(places: InstanceLayout, record: InstanceRecord): Promise<void> {
  const temporary = `${places.record}.new`;
  await writeFile(temporary, JSON.stringify(record));
  await rename(temporary, places.record);
}

/** Undefined when there is none, or none that this version understands. */
export async function readRecord(places: InstanceLayout): Promise<InstanceRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(places.record, 'utf8')));
  } catch {
    return undefined;
  }
}
