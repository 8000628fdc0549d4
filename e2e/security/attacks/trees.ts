/** Attempts of what is among a sandbox's files, against the program of the machine that copies them for a snapshot. The weak one is cp(1), told to follow what it finds. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treesBinaryPath } from '../../../server/src/agent/agent-binary.ts';
import { run } from '../../../server/src/platform/command.ts';
import type { ServerAttack } from '../support/server-attack.ts';

/** What waits for somebody who never comes is ended then. */
const PATIENCE_MS = 3000;

/** A tree, a place for its copy, and a file beside them that nobody may read. */
interface Place {
  readonly tree: string;
  readonly copy: string;
  readonly victim: string;
}

const attack = (
  name: string,
  threat: ServerAttack['threat'],
  says: RegExp,
  by: string,
  attempt: (place: Place, checked: boolean) => Promise<string>,
): ServerAttack => ({
  ...{ name, threat, says, by },
  attempt: async (checked) => {
    const root = await mkdtemp(join(tmpdir(), 'skerry-tree-attack-'));
    try {
      const [tree, copy, outside] = [join(root, 'tree'), join(root, 'copy'), join(root, 'outside')];
      for (const each of [tree, copy, outside]) await mkdir(each);
      const victim = join(outside, 'victim');
      await writeFile(victim, 'secret');
      return await attempt({ tree, copy, victim }, checked);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  },
});

async function copyTree({ tree, copy }: Place, checked: boolean, timeoutMs: number): Promise<void> {
  const argv = checked
    ? ([treesBinaryPath(), 'copy', tree, copy] as const)
    : (['cp', '--recursive', '--dereference', '--copy-contents', tree, copy] as const);
  await run(argv, { input: 'final\n', timeoutMs }); // everything stands still already
}

export const treeAttacks: readonly ServerAttack[] = [
  attack(
    'have a file of the machine copied by links in what is made a snapshot',
    'escape',
    /^nothing of it/,
    'links are copied as links',
    async (place, checked) => {
      await symlink(place.victim, join(place.tree, 'file'));
      await symlink(join(place.victim, '..'), join(place.tree, 'directory'));
      await copyTree(place, checked, 60_000);
      const { stdout } = await run(['grep', '-rl', 'secret', place.copy], { okCodes: [1] }); // follows none itself
      if (stdout === '') throw new Error('nothing of it is in the copy');
      return 'it is in the copy';
    },
  ),
  attack(
    'hold a snapshot up by a FIFO to which nobody writes',
    'exhaustion',
    /^the copy was made/,
    'a FIFO is copied as one, and never opened',
    async (place, checked) => {
      await run(['mkfifo', join(place.tree, 'fifo')]);
      try {
        await copyTree(place, checked, checked ? 60_000 : PATIENCE_MS);
      } catch (error) {
        if (error instanceof Error && /did not finish/.test(error.message)) return 'the copy waits for ever';
        throw error;
      }
      throw new Error('the copy was made');
    },
  ),
];
