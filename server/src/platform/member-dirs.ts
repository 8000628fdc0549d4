/** What of a data directory that several servers share is one server's alone: what it makes there and empties, which nobody comes back to once it is gone. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isMemberId, type MemberId } from '../ids.ts';

/** Goes with the server. */
export const memberDir = (dataDir: string, member: MemberId): string => join(membersDir(dataDir), member);

const membersDir = (dataDir: string) => join(dataDir, 'members');

/**
 * Removes what servers had for themselves that are gone. Whatever else may be there stays.
 * @param living asked after it was looked which there are: one is to be among them before it makes its directory
 * @param onFailure what is left is in nobody's way
 */
export async function removeDirsOfGone(
  dataDir: string,
  living: (member: MemberId) => boolean,
  onFailure: (member: MemberId, error: unknown) => void,
): Promise<void> {
  const there = (await readdir(membersDir(dataDir)).catch((): string[] => [])).filter(isMemberId);
  for (const member of there.filter((each) => !living(each))) {
    await rm(memberDir(dataDir, member), { recursive: true, force: true }).catch((error: unknown) =>
      onFailure(member, error),
    );
  }
}

/** The same of all. */
export const removeMemberDirs = (dataDir: string): Promise<void> =>
  rm(membersDir(dataDir), { recursive: true, force: true });
