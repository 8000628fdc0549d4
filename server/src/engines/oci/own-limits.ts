/** What this process may hand to sandboxes: a server in a container or under a service manager may have less than a plain root. */
import { readFile } from 'node:fs/promises';

/** Bit of CAP_SYS_RESOURCE in capability masks, <linux/capability.h>. */
const CAP_SYS_RESOURCE = 24n;
/** What sandboxes get where it is possible: many programs look no further. */
const WANTED_OPEN_FILES = 1_048_576;

export interface OwnLimits {
  /** Whether an oom_score_adj below our own may be set (needs CAP_SYS_RESOURCE). */
  readonly lowersOomScore: boolean;
  /** Whether limits of a process of other users may be set (needs the same). The agent lowers its own else. */
  readonly limitsOthers: boolean;
  /** The hard limit of open files that can be set. */
  readonly maxOpenFiles: number;
}

/** Reads them from /proc/self, proc(5). */
export async function readOwnLimits(): Promise<OwnLimits> {
  const [status, limits] = await Promise.all([
    readFile('/proc/self/status', 'utf8'),
    readFile('/proc/self/limits', 'utf8'),
  ]);
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const privileged = ((effective >> CAP_SYS_RESOURCE) & 1n) === 1n;
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  const ownHard = hard === undefined ? WANTED_OPEN_FILES : Number(hard);
  return {
    lowersOomScore: privileged,
    limitsOthers: privileged,
    maxOpenFiles: privileged ? WANTED_OPEN_FILES : Math.min(WANTED_OPEN_FILES, ownHard),
  };
}
