/** Copies inside a volume, as `cp -p [-r]` makes them. */
import { SkerryError } from '../errors/skerry-error.ts';
import type { MachineRoom } from '../platform/machine-room.ts';
import { clip } from '../platform/text.ts';
import type { Leaf, Walked } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';
import { parseVolumePath, showVolumePath, type VolumePath } from './paths.ts';
import { noSuchFile } from './volume-errors.ts';

/** @throws SkerryError `not-found`, `conflict`, `invalid-argument`, `disk-full` */
export async function copyWithin(
  writer: LayerWriter,
  room: MachineRoom,
  sources: readonly string[],
  destination: string,
  { recursive }: { readonly recursive: boolean },
): Promise<void> {
  if (sources.length === 0) throw new SkerryError('invalid-argument', 'There is nothing to copy.');
  const to = parseVolumePath(destination);
  const there = await writer.tree.lookup(to);
  const into = to.length === 0 || there?.kind === 'directory';
  if (!into && (sources.length > 1 || destination.endsWith('/')))
    throw new SkerryError('conflict', `'${clip(destination)}' is not a directory.`);
  for (const source of sources) {
    const from = parseVolumePath(source);
    const last = from.at(-1);
    await copyOne(writer, room, from, into && last !== undefined ? [...to, last] : to, recursive);
  }
}

async function copyOne(
  writer: LayerWriter,
  room: MachineRoom,
  from: VolumePath,
  to: VolumePath,
  recursive: boolean,
): Promise<void> {
  const { tree } = writer;
  const node = await tree.lookup(from);
  if (!node) throw noSuchFile(from);
  const parent = await tree.lookup(to.slice(0, -1));
  if (to.length > 1 && parent?.kind !== 'directory') {
    const name = clip(showVolumePath(to.slice(0, -1)));
    throw new SkerryError(parent ? 'conflict' : 'not-found', `'${name}' is not a directory.`);
  }
  if (from.join('/') === to.join('/'))
    throw new SkerryError(
      'invalid-argument',
      `'${clip(showVolumePath(from))}' is the same file as its copy.`,
    );
  if (node.kind !== 'directory') return copyFile(writer, room, node, to);
  if (!recursive)
    throw new SkerryError(
      'invalid-argument',
      `'${clip(showVolumePath(from))}' is a directory: ask for a recursive copy.`,
    );
  if (from.every((name, at) => to[at] === name))
    throw new SkerryError('invalid-argument', 'A directory cannot be copied into itself.');
  const inside: Walked[] = await Array.fromAsync(tree.walk(node, to));
  await writer.makeDirectory(to);
  for (const { path, node: found } of inside) {
    if (found.kind === 'directory') await writer.makeDirectory(path);
    else await copyFile(writer, room, found, path);
  }
}

async function copyFile(writer: LayerWriter, room: MachineRoom, from: Leaf, to: VolumePath): Promise<void> {
  using _room = await room.take({ bytes: from.stats.size, files: 1, what: 'the copy' });
  await writer.copyFile(from, to);
}
