/** What the sandboxes of a token, or of an environment, may take together. docs/operations.md is for those who set them, docs/decisions/0047 says what counts. */
import { z } from 'zod';

/** Far more than a machine has: sums of these are exact. */
const MOST = 1_000_000_000;
const bound = z.int().min(1).max(MOST).optional();

/** Absent is as much as it likes. */
export const quotasSchema = z.object({
  /** Sandboxes that run at once. */
  maxSandboxes: bound,
  /** Of all that run together, thousandths of a processor. */
  maxMilliCpu: bound,
  maxMemoryMiB: bound,
  /** Of all that have not ended. */
  maxDiskMiB: bound,
  /** Instead of what the server's configuration says. */
  createsPerMinute: bound,
});

export type Quotas = z.infer<typeof quotasSchema>;
