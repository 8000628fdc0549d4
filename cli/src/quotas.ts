/** Quotas as the command takes and shows them, of tokens and of environments. */
import { type Command, InvalidArgumentError } from 'commander';
import * as z from 'zod/mini';

export const quotasSchema = z.object({
  maxSandboxes: z.optional(z.number()),
  maxMilliCpu: z.optional(z.number()),
  maxMemoryMiB: z.optional(z.number()),
  maxDiskMiB: z.optional(z.number()),
  createsPerMinute: z.optional(z.number()),
});
export type Quotas = z.infer<typeof quotasSchema>;

/** What sandboxes take. */
export const takenSchema = z.object({
  sandboxes: z.number(),
  milliCpu: z.number(),
  memoryMiB: z.number(),
  diskMiB: z.number(),
});

export interface QuotaFlags {
  readonly maxSandboxes?: number;
  readonly maxCpu?: number;
  readonly maxMemory?: number;
  readonly maxDisk?: number;
  readonly createsPerMinute?: number;
}

/** The flags that `quotasOf` reads. */
export const addQuotaOptions = (command: Command): Command =>
  command
    .option('--max-sandboxes <count>', 'so many of its sandboxes may run at once', parseCount)
    .option('--max-cpu <cores>', 'these have so many processors together: 4, 1.5', parseCores)
    .option('--max-memory <mib>', 'and so much memory, MiB', parseCount)
    .option('--max-disk <mib>', 'and with those that are suspended so much disk, MiB', parseCount)
    .option('--creates-per-minute <count>', 'so many sandboxes may be made of it in a minute', parseCount);

export function quotasOf(flags: QuotaFlags): Quotas {
  const { maxSandboxes, maxCpu, maxMemory, maxDisk, createsPerMinute } = flags;
  return {
    ...(maxSandboxes !== undefined && { maxSandboxes }),
    ...(maxCpu !== undefined && { maxMilliCpu: maxCpu }),
    ...(maxMemory !== undefined && { maxMemoryMiB: maxMemory }),
    ...(maxDisk !== undefined && { maxDiskMiB: maxDisk }),
    ...(createsPerMinute !== undefined && { createsPerMinute }),
  };
}

/** What its sandboxes take of each quota it has: `2/5 sandboxes, 1/4 CPU`. */
export function describeQuotas({
  quotas,
  taken,
}: {
  readonly quotas: Quotas;
  readonly taken?: z.infer<typeof takenSchema> | undefined;
}): string {
  const of = (used: number | undefined, most: number | undefined, unit: string) =>
    most === undefined ? [] : [`${used ?? '?'}/${most} ${unit}`];
  const cores = (milliCpu: number | undefined) => (milliCpu === undefined ? undefined : milliCpu / 1000);
  const parts = [
    ...of(taken?.sandboxes, quotas.maxSandboxes, 'sandboxes'),
    ...of(cores(taken?.milliCpu), cores(quotas.maxMilliCpu), 'CPU'),
    ...of(taken?.memoryMiB, quotas.maxMemoryMiB, 'MiB memory'),
    ...of(taken?.diskMiB, quotas.maxDiskMiB, 'MiB disk'),
    ...(quotas.createsPerMinute === undefined ? [] : [`${quotas.createsPerMinute} creates a minute`]),
  ];
  return parts.length === 0 ? '-' : parts.join(', ');
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number, 1 or more.');
}

/** Thousandths of a processor. */
function parseCores(text: string): number {
  const milliCpu = /^\d{1,5}(\.\d{1,3})?$/.test(text) ? Math.round(Number(text) * 1000) : 0;
  if (milliCpu > 0) return milliCpu;
  throw new InvalidArgumentError('It must be a number of processors such as 4 or 1.5.');
}
