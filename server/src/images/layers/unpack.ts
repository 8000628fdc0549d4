/** Unpacks chosen folders of archives into a layer. */

import { fromBytes, toBytes } from '../../platform/byte-paths.ts';
import { EditError, type LayerEdit, type UnpackArchive } from './edit.ts';
import { entries as tarEntries } from './read-tar.ts';
import type { RootedTree } from './rooted.ts';
import { TreeWriter } from './tree-writer.ts';
import { Zip } from './zip.ts';

/** @throws EditError when an archive is damaged, is another than expected, or lacks what is picked from it */
export async function unpack(
  target: RootedTree,
  edit: Extract<LayerEdit, { kind: 'unpack' }>,
): Promise<void> {
  const writer = new TreeWriter(target);
  for (const archive of edit.archives) await unpackArchive(writer, archive);
  for (const { path, target: to } of edit.links) writer.link(path, to);
}

async function unpackArchive(writer: TreeWriter, archive: UnpackArchive): Promise<void> {
  const unused = new Set(archive.picks);
  const write = async (name: string, isProgram: boolean, content: AsyncIterable<Buffer>) => {
    const pick = archive.picks.find(({ from }) => name === from || name.startsWith(`${from}/`));
    if (!pick) return;
    unused.delete(pick);
    const path = `${pick.to}${name.slice(pick.from.length)}`.replace(/^\//, '');
    const program = isProgram || archive.programs.some((folder) => path.startsWith(`${folder}/`));
    await writer.file(path, program ? 0o755 : 0o644, content);
  };
  if (archive.format === 'tar') {
    for await (const [header, body] of tarEntries(toBytes(archive.file))) {
      if (header.type !== 'file') continue;
      await write(fromBytes(header.name), ((header.mode ?? 0) & 0o111) !== 0, body);
    }
  } else {
    await using zip = await Zip.open(archive.file);
    if (archive.h1 !== undefined) {
      await zip.eachOfModule(archive.h1, (name, content) => write(name, false, content));
    } else {
      for (const name of zip.names()) await write(name, zip.isProgram(name), zip.read(name));
    }
  }
  const [missing] = unused;
  if (missing) throw new EditError(`the archive has no ${JSON.stringify(missing.from)}`);
}
