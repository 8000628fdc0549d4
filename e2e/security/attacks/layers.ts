/** Attempts of an image's layer, an archive of strangers, to reach files beside it. Without our checks it is unpacked as root's `tar` does. */
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { editLayer } from '../../../server/src/images/layers/edit-layer.ts';
import { run } from '../../../server/src/platform/command.ts';
import { pythonWith } from '../../support/clients.ts';
import type { ServerAttack } from '../support/server-attack.ts';

/** Makes an archive of entries, which Python's tarfile takes as they are: `[{"name": ..., ...attributes of TarInfo, "text": ... or "zeros": how many}]`. */
const MAKE_ARCHIVE = `
import io, json, sys, tarfile
path, entries = sys.argv[1], json.loads(sys.argv[2])
with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
    for entry in entries:
        text = entry.pop("text", "").encode() or bytes(entry.pop("zeros", 0))
        info = tarfile.TarInfo(entry.pop("name"))
        info.size = len(text)
        for key, value in entry.items():
            setattr(info, key, value.encode() if key == "type" else value)
        archive.addfile(info, io.BytesIO(text))`;

/** What a layer may unpack to here. */
const MAX_BYTES = 1 << 20;

type Entry = Readonly<Record<string, unknown>> & { readonly name: string };

/** What is there: a layer below with links that lead out, and a file outside that nobody may touch. */
interface Place {
  readonly root: string;
  readonly outside: string;
  /** Where the archive was unpacked to. */
  readonly unpacked: string;
}

const attack = (
  name: string,
  says: RegExp,
  by: string,
  entries: (outside: string) => readonly Entry[],
  /** @throws when nothing came of it */
  came: (place: Place) => Promise<string>,
): ServerAttack => ({
  ...{ name, threat: 'images', says, by },
  attempt: async (checked) => {
    const root = await mkdtemp(join(tmpdir(), 'skerry-layer-attack-'));
    try {
      const [outside, lower, workspace] = ['outside', 'lower', 'workspace'].map((each) => join(root, each));
      if (!outside || !lower || !workspace) throw new Error('three names, three paths');
      for (const each of [outside, lower, workspace]) await mkdir(each);
      await writeFile(join(outside, 'victim'), 'intact');
      await symlink(outside, join(lower, 'absolute'));
      const file = join(workspace, 'layer.tar');
      await run([pythonWith(), '-c', MAKE_ARCHIVE, file, JSON.stringify(entries(outside))]);
      if (checked) {
        const job = {
          workspace,
          layers: [lower],
          edit: { kind: 'apply-tar', file, maxBytes: MAX_BYTES },
        } as const;
        await editLayer(job, AbortSignal.timeout(60_000));
        return await came({ root, outside, unpacked: join(workspace, 'upper') });
      }
      const options = ['--absolute-names', '--xattrs', '--xattrs-include=*', '--overwrite'];
      await run(['tar', ...options, '--extract', '--file', file, '--directory', lower]);
      return await came({ root, outside, unpacked: lower });
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  },
});

/** The victim says something else, or has company. */
async function touched({ outside }: Place): Promise<string> {
  const files = await readdir(outside);
  const said = await readFile(join(outside, 'victim'), 'utf8');
  if (files.length === 1 && said === 'intact') throw new Error('all is as it was outside');
  return `outside: ${files.join(' ')}`;
}

const INTACT = /^all is as it was outside/;

export const layerAttacks: readonly ServerAttack[] = [
  attack(
    'write beside a layer by a name with dots',
    /outside of it/,
    'names with .. are refused',
    () => [{ name: '../outside/new', text: 'x' }],
    touched,
  ),
  attack(
    'write beside a layer by a link in the one below',
    INTACT,
    'links are followed within the image alone',
    () => [{ name: 'absolute/new', text: 'x' }],
    touched,
  ),
  attack(
    'write beside a layer by a link of its own',
    INTACT,
    'links are followed within the image alone',
    (outside) => [
      { name: 'own', type: '2', linkname: outside },
      { name: 'own/new', text: 'x' },
    ],
    touched,
  ),
  attack(
    'write into a file beside a layer by a hard link',
    /not in the image/,
    'hard links are made to files of the image alone',
    (outside) => [
      { name: 'hard', type: '1', linkname: `${outside}/victim` },
      { name: 'hard', text: 'changed' },
    ],
    touched,
  ),
  attack(
    'fill the disk by a layer that unpacks to more than anybody has room for',
    /unpacks to more/,
    'what a layer may unpack to is bounded',
    () => [{ name: 'zeros', zeros: 4 * MAX_BYTES }],
    async ({ unpacked }) => {
      const { size } = await lstat(join(unpacked, 'zeros'));
      return `${size} bytes were written`;
    },
  ),
  attack(
    'bring the node of a device',
    /^no node/,
    'device nodes are left out',
    () => [{ name: 'node', type: '3', devmajor: 1, devminor: 11, mode: 0o666 }],
    async ({ unpacked }) => {
      const node = join(unpacked, 'node');
      if (!existsSync(node) || !(await lstat(node)).isCharacterDevice())
        throw new Error('no node came of it');
      return 'the node is there';
    },
  ),
  attack(
    'forge what an overlay keeps in attributes of files, as a whiteout is',
    /^no attribute/,
    'all extended attributes but capabilities are left out',
    () => [
      {
        name: 'forged',
        type: '5',
        mode: 0o755,
        pax_headers: { 'SCHILY.xattr.trusted.overlay.redirect': '/absolute' },
      },
    ],
    async ({ unpacked }) => {
      const list = 'import os, sys; print(os.listxattr(sys.argv[1]))';
      const { stdout } = await run([pythonWith(), '-c', list, join(unpacked, 'forged')]);
      if (!stdout.includes('overlay.redirect')) throw new Error('no attribute came of it');
      return 'the attribute is there';
    },
  ),
];
