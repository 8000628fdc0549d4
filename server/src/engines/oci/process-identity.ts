/** Which process a number meant: process ids are used again, together with the start time they are not. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

export const processIdentitySchema = z.object({
  pid: z.number().int().positive(),
  /** Clock ticks after boot, field 22 of /proc/pid/stat. */
  startTime: z.string().regex(/^\d+$/),
});

export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

interface Stat {
  readonly state: string;
  readonly startTime: string;
}

/** @throws what keeps it from being read though it may be there: no descriptor left, say */
async function stat(pid: number): Promise<Stat | undefined> {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
  // The program's name, in parentheses, may hold anything: fields are counted from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], fields[19]];
  return state !== undefined && startTime !== undefined ? { state, startTime } : undefined;
}

/** The process that has this number now; undefined when there is none or it is dead already. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const found = await stat(pid);
  return found && !isDead(found) ? { pid, startTime: found.startTime } : undefined;
}

export async function isAlive({ pid, startTime }: ProcessIdentity): Promise<boolean> {
  const found = await stat(pid);
  return found !== undefined && found.startTime === startTime && !isDead(found);
}

/** Zombie, dead. */
const isDead = ({ state }: Stat): boolean => state === 'Z' || state === 'X';
