/**
 * Where an engine of Pods has its files, in a data directory that several servers may share, on a volume whose locks are not to be relied on. What one of them makes and empties is in a
 * directory of its own (`platform/member-dirs.ts`); what all of them read is in one place, and only ever replaced whole.
 */
import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MemberId } from '../../ids.ts';
import { memberDir } from '../../platform/member-dirs.ts';

/** What a volume without hard links says. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

export class EngineFiles {
  /** What all have. */
  readonly common: string;
  /** What is this server's alone. */
  readonly own: string;

  /** @param member of several servers, this one; undefined where there is one, to which all is its own */
  constructor(dataDir: string, member: MemberId | undefined) {
    this.common = commonDir(dataDir);
    this.own = member === undefined ? this.common : join(memberDir(dataDir, member), 'kubernetes');
  }

  /** Of images on their way. */
  get temporary(): string {
    return join(this.own, 'tmp');
  }

  get skeleton(): string {
    return join(this.own, 'skeleton');
  }

  get programs(): string {
    return join(this.own, 'programs');
  }

  /** Sandboxes with volumes are kept by the one that leads, so that only that one writes here. */
  get volumes(): string {
    return join(this.common, 'volumes');
  }

  get sentLayers(): string {
    return join(this.common, 'sent-layers.json');
  }

  get identity(): string {
    return join(this.common, 'identity.json');
  }
}

const commonDir = (dataDir: string) => join(dataDir, 'kubernetes');

/**
 * What is in a file that is made once. All who ask get the same, however many ask at once, and nobody sees half of it.
 * @param make what it is to hold, if it is not there
 */
export async function madeOnce(file: string, make: () => Promise<string>): Promise<string> {
  const known = await textOf(file);
  if (known !== undefined) return known;
  // One that is left by a server that was killed has the keys of nobody.
  const candidate = `${file}.${randomBytes(8).toString('hex')}`;
  await mkdir(join(file, '..'), { recursive: true, mode: 0o700 });
  try {
    await writeFile(candidate, await make(), { mode: 0o600, flag: 'wx', flush: true });
    // The first wins. With a rename the last does, who has not read what it replaces: good enough where servers begin one after the other.
    await link(candidate, file).catch(async (error: NodeJS.ErrnoException) => {
      if (NO_LINKS.has(error.code)) await rename(candidate, file);
      else if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(candidate, { force: true });
  }
  return readFile(file, 'utf8');
}

const textOf = (file: string): Promise<string | undefined> =>
  readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
