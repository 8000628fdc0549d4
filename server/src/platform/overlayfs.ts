/** Layers of files seen as one tree, with a writable one on top or none. */
import { mkdir, symlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { baseEnvironment, run } from './command.ts';

export interface Overlay {
  /** Absolute directories, lowest first. */
  readonly layers: readonly string[];
  /** What is changed goes into `upper`; `work` is the kernel's, on the same file system. Both must be there. Undefined: nothing can be changed. */
  readonly writable: { readonly upper: string; readonly work: string } | undefined;
  /** Where the tree is to be seen; must be there. */
  readonly target: string;
  /** Made for links to the directories above, and for this mount alone: no name in it is another's. */
  readonly linksDir: string;
  /** Further options of the mount. */
  readonly options: readonly string[];
}

/**
 * Features that would make a writable layer depend on where it was written (its inode numbers, absolute redirects, copies of metadata alone) are off, so
 * that it can be moved and become a layer of another overlay.
 */
export const OVERLAY_OPTIONS: readonly string[] = [
  'index=off',
  'metacopy=off',
  'redirect_dir=off',
  'xino=off',
];

/** Whose ids a tree is seen with: 0 to 65,535 on disk are `firstId` and those after it. */
export interface ShiftedIds {
  readonly firstId: number;
  /** The program of `trees/`. */
  readonly treesBinary: string;
}

/**
 * The same as a sandbox with ids of its own is to see it. The machine's root can write in it too: what it makes there belongs to id 65,536 on disk, which is nobody in the
 * sandbox, until it is given one of the others.
 * @param writable holds `upper` and `work`
 */
export async function mountShiftedOverlay(
  { layers, target, options }: Pick<Overlay, 'layers' | 'target' | 'options'>,
  writable: string,
  { firstId, treesBinary }: ShiftedIds,
): Promise<void> {
  const all = [...OVERLAY_OPTIONS, ...options].join(',');
  await run([treesBinary, 'mount-shared', String(firstId), writable, target, all, ...layers]);
}

/**
 * mount(2) takes one page of options, and commas and colons part what is in them: the links have short names, and no character of a path gets there.
 * That leaves room for some 400 layers.
 */
export async function mountOverlay({ layers, writable, target, linksDir, options }: Overlay): Promise<void> {
  await mkdir(linksDir, { recursive: true });
  const link = (directory: string, name: string) => symlink(directory, join(linksDir, name));
  // The kernel wants the top layer first.
  const lower = layers.toReversed();
  await Promise.all([
    ...lower.map((directory, index) => link(directory, String(index))),
    ...(writable ? [link(writable.upper, 'u'), link(writable.work, 'w')] : []),
  ]);
  const all = [
    `lowerdir=${lower.map((_, index) => index).join(':')}`,
    ...(writable ? ['upperdir=u', 'workdir=w'] : []),
    ...OVERLAY_OPTIONS,
    ...options,
  ];
  await run(['mount', '-n', '-t', 'overlay', '-o', all.join(','), 'overlay', relative(linksDir, target)], {
    cwd: linksDir,
    // libmount's newer interface to the kernel takes at most 255 bytes a parameter.
    env: { ...baseEnvironment(), LIBMOUNT_FORCE_MOUNT2: 'always' },
  });
}
