/** What became different between two versions of a volume. */
import { readdir } from 'node:fs/promises';
import type { VolumeLayerId } from '../ids.ts';
import { raw } from '../platform/byte-paths.ts';
import { LayerTree, type Node, statOf } from './layer-tree.ts';
import type { VolumePath } from './paths.ts';
import { keyOf } from './tree-state.ts';

export interface Difference {
  readonly path: VolumePath;
  /** What is there now; undefined for what is gone, with all that was in it. */
  readonly node: Node | undefined;
}

/** @returns each path once, each directory before what is in it */
export async function differences(
  from: readonly VolumeLayerId[],
  to: readonly VolumeLayerId[],
  roots: (layers: readonly VolumeLayerId[]) => readonly string[],
): Promise<readonly Difference[]> {
  const after = new LayerTree(roots(to));
  const before = new LayerTree(roots(from));
  if (from.every((layer, index) => to[index] === layer))
    return said(before, after, roots(to.slice(from.length)));
  // Layers were merged meanwhile, which keeps the files of those there were.
  const found: Difference[] = [];
  await compare(before, await before.lookup([]), after, await after.lookup([]), [], found);
  return found;
}

/** What these layers have added says all there is to say: they are on top of what there was. */
async function said(before: LayerTree, after: LayerTree, added: readonly string[]): Promise<Difference[]> {
  const paths = new Map<string, VolumePath>();
  for (const root of added) await collect(root, [], before, paths);
  const found: Difference[] = [];
  for (const [, path] of [...paths].sort(([a], [b]) => (a < b ? -1 : 1)))
    found.push({ path, node: await after.lookup(path) });
  return found;
}

/** Everything that a layer speaks of. */
async function collect(
  host: string,
  path: VolumePath,
  before: LayerTree,
  paths: Map<string, VolumePath>,
): Promise<void> {
  for (const name of await readdir(raw(host), { encoding: 'latin1' })) {
    const below = [...path, name];
    paths.set(keyOf(below), below);
    if ((await statOf(`${host}/${name}`))?.isDirectory()) {
      await collect(`${host}/${name}`, below, before, paths);
      continue;
    }
    // What takes the place of a directory, be it a whiteout, takes that of all in it, and a higher layer may have put a directory there again.
    const was = await before.lookup(below);
    if (was?.kind !== 'directory') continue;
    for await (const { path: inside } of before.walk(was, below)) paths.set(keyOf(inside), inside);
  }
}

async function compare(
  before: LayerTree,
  was: Node | undefined,
  after: LayerTree,
  is: Node | undefined,
  path: VolumePath,
  found: Difference[],
): Promise<void> {
  const old = await childrenOf(before, was);
  const present = await childrenOf(after, is);
  for (const [name, node] of present) {
    const below = [...path, name];
    const earlier = old.get(name);
    if (node.kind !== 'directory') {
      if (!earlier || !isSame(earlier, node)) found.push({ path: below, node });
      continue;
    }
    if (earlier?.kind !== 'directory') found.push({ path: below, node });
    await compare(before, earlier, after, node, below, found);
  }
  for (const name of old.keys())
    if (!present.has(name)) found.push({ path: [...path, name], node: undefined });
}

const childrenOf = async (tree: LayerTree, node: Node | undefined): Promise<ReadonlyMap<string, Node>> =>
  new Map(node?.kind === 'directory' ? await tree.children(node) : []);

/** Versions share the files that they have in common. */
const isSame = ({ stats: a }: Node, { stats: b }: Node): boolean => a.ino === b.ino && a.dev === b.dev;
