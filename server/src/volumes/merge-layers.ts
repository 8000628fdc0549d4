/** Makes one layer of many, so that a long history costs nothing: the same files under hard links. */
import { link } from 'node:fs/promises';
import { raw } from '../platform/byte-paths.ts';
import type { LayerTree } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';

/** @param writer of a layer over nothing */
export async function mergeLayers(tree: LayerTree, writer: LayerWriter): Promise<void> {
  const root = await tree.lookup([]);
  if (root?.kind !== 'directory') return;
  await writer.takeOver([], root);
  for await (const { path, node } of tree.walk(root, [])) {
    if (node.kind === 'directory') await writer.takeOver(path, node);
    else await writer.putFile(path, (host) => link(raw(node.host), raw(host)));
  }
}
