/**
 * Trees mounted into a running instance. Under runc the machine's kernel mounts them in the instance's namespace. gVisor has a kernel of its own, whose files come through
 * a process of the machine, the gofer: there a tree is mounted in the gofer's namespace, in a directory prepared for that, and the agent binds it to its path. Each such tree is
 * mounted a second time at that path of the gofer's, so that whoever looks at the instance's files from outside sees what it sees.
 */
import { chmod, chown, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SlotUsers } from '../../network/network.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { unmount } from '../../platform/mounts.ts';
import { mountOverlay } from '../../platform/overlayfs.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { GUEST_AGENT, GUEST_MOUNTS_DIR } from '../paths.ts';
import type { ContentPlaces, LayerRef } from '../references.ts';
import { type InstanceLayout, MAX_TREE_MOUNTS } from './layout.ts';
import type { TreeMountRecord } from './record.ts';
import type { OciRuntime } from './runtime.ts';
import type { TreeSource, Trees } from './trees.ts';
import type { MappedTrees } from './user-ids.ts';

export interface TreeMountsParts {
  readonly places: InstanceLayout;
  readonly runtime: OciRuntime;
  readonly trees: Trees;
  /** Where its user namespace is, if it has one, and what shows trees with the ids of that. */
  readonly users: Pick<SlotUsers, 'path'> | undefined;
  readonly mappedTrees: MappedTrees;
  readonly content: ContentPlaces;
  readonly logger: Logger;
  /** The instance's first process. */
  readonly init: number;
  /** What an earlier server mounted. */
  readonly mounted: readonly TreeMountRecord[];
  /** Called whenever another is mounted, or one no longer. */
  readonly keep: (mounted: readonly TreeMountRecord[]) => Promise<void>;
}

export class TreeMounts {
  readonly #parts: TreeMountsParts;
  #mounted: readonly TreeMountRecord[];

  constructor(parts: TreeMountsParts) {
    this.#parts = parts;
    this.#mounted = parts.mounted;
  }

  /** The layers of what is mounted. */
  get layers(): readonly LayerRef[] {
    return this.#mounted.flatMap(({ layers }) => layers);
  }

  /** @see Instance.mount */
  async mount(
    path: string,
    layers: readonly LayerRef[],
    fill: (upper: string) => Promise<void> | undefined,
  ): Promise<void> {
    const { keep, places, logger } = this.#parts;
    const taken = new Set(this.#mounted.map(({ slot }) => slot));
    const slot = Array.from({ length: MAX_TREE_MOUNTS }, (_, index) => index).find(
      (each) => !taken.has(each),
    );
    if (slot === undefined) {
      throw new SkerryError(
        'resource-exhausted',
        `A sandbox can have ${MAX_TREE_MOUNTS} images mounted at once.`,
      );
    }
    const undo = new Cleanup();
    try {
      undo.add('tree', () => this.#removeTree(slot));
      const source = await this.#makeTree(slot, layers, fill);
      const shown = await this.#show(source, slot, path, undo);
      const record = { slot, path: plain(path), layers: [...layers], ...shown };
      await keep([...this.#mounted, record]);
      this.#mounted = [...this.#mounted, record];
    } catch (error) {
      await undo.run().catch((err: unknown) => logger.error({ instance: places.id, err }, 'mount.left'));
      throw error;
    }
  }

  /** @see Instance.unmount */
  async unmount(path: string): Promise<void> {
    const { trees, keep } = this.#parts;
    const asked = plain(path);
    const found = this.#mounted.findLast((mount) => mount.path === asked || mount.place === asked);
    if (!found) throw new SkerryError('not-found', `No image is mounted at ${path.slice(0, 200)}.`);
    if (this.#parts.runtime.name === 'gvisor') await this.#unbind(found.slot);
    const pid = await this.#filesPid();
    for (const id of found.ids) await trees.hide(pid, id);
    await this.#removeTree(found.slot);
    this.#mounted = this.#mounted.filter((mount) => mount !== found);
    await keep(this.#mounted);
  }

  /** Removes what an earlier server was killed over: what is not in the record was never told to anybody. */
  async removeUnfinished(): Promise<void> {
    const known = new Set(this.#mounted.map(({ slot }) => String(slot)));
    const made = await readdir(this.#directory).catch(() => []); // most have no mounts
    for (const name of made) if (!known.has(name)) await this.#removeTree(name);
  }

  /** A directory as the instance sees it. */
  async at(path: string): Promise<TreeSource> {
    return { pid: await this.#filesPid(), path };
  }

  /** Makes what is to be seen of the layers, with a writable one on top. @returns where it is */
  async #makeTree(
    slot: number,
    layers: readonly LayerRef[],
    fill: (upper: string) => Promise<void> | undefined,
  ): Promise<string> {
    const { content, users, mappedTrees } = this.#parts;
    const { disk, upper, work, merged, links } = this.#placesOf(slot);
    await mkdir(upper, { recursive: true, mode: 0o755 });
    await fill(upper);
    const top = layers.at(-1);
    if (top === undefined && !users) return upper;
    await Promise.all([work, merged].map((path) => mkdir(path, { recursive: true, mode: 0o700 })));
    if (top === undefined) {
      if (users) await mappedTrees.show(users, upper, merged);
      return merged;
    }
    // What overlayfs shows of the root are the attributes of the writable layer's.
    const meta = await stat(content.layer(top));
    await chown(upper, meta.uid, meta.gid);
    await chmod(upper, meta.mode & 0o7777);
    const shown = { layers: layers.map((layer) => content.layer(layer)), target: merged };
    if (users) await mappedTrees.overlay(users, { ...shown, writable: disk });
    else
      await mountOverlay({
        ...{ ...shown, writable: { upper, work }, linksDir: links },
        options: ['volatile', 'nodev'],
      });
    return merged;
  }

  async #removeTree(slot: number | string): Promise<void> {
    const { merged, links, disk } = this.#placesOf(slot);
    await unmount([merged]);
    await Promise.all([merged, links, disk].map((path) => rm(path, { recursive: true, force: true })));
  }

  async #show(source: string, slot: number, path: string, undo: Cleanup) {
    const { runtime, trees, init } = this.#parts;
    const pid = await this.#filesPid();
    if (runtime.name !== 'gvisor') {
      const { id, place } = await trees.show(source, init, path);
      undo.add('mount', () => trees.hide(pid, id));
      return { ids: [id], place };
    }
    const prepared = join(GUEST_MOUNTS_DIR, String(slot));
    const inside = await trees.attach(source, pid, prepared);
    undo.add('mount', () => trees.hide(pid, inside.id));
    const place = await this.#bind(prepared, path);
    undo.add('bind', () => this.#unbind(slot));
    const seen = await trees.attach(source, pid, place);
    undo.add('mount', () => trees.hide(pid, seen.id));
    return { ids: [seen.id, inside.id], place };
  }

  #bind(prepared: string, path: string): Promise<string> {
    const { runtime, places } = this.#parts;
    return runtime.execMounting(places, [GUEST_AGENT, 'bind', prepared, path]);
  }

  async #unbind(slot: number): Promise<void> {
    const { runtime, places } = this.#parts;
    await runtime.execMounting(places, [GUEST_AGENT, 'unbind', join(GUEST_MOUNTS_DIR, String(slot))]);
  }

  /** The process in whose namespace the instance's files are. */
  async #filesPid(): Promise<number> {
    const { runtime, places, init } = this.#parts;
    return runtime.name === 'gvisor' ? goferOf(runtime, places) : init;
  }

  /** On disk, all trees' directories. */
  get #directory(): string {
    return join(this.#parts.places.diskDir, 'mounts');
  }

  #placesOf(slot: number | string) {
    const { places } = this.#parts;
    const disk = join(this.#directory, String(slot));
    return {
      disk,
      upper: join(disk, 'upper'),
      work: join(disk, 'work'),
      merged: join(places.dir, 'm', String(slot)),
      links: join(places.dir, 'ml', String(slot)),
    };
  }
}

/** How two ways to write a path are the same, without a look at any file. */
const plain = (path: string): string => posix.normalize(path).replace(/(?<=.)\/+$/, '');

/** runsc writes down which process serves a container's files (runsc/container/container.go, `GoferPid`). */
async function goferOf(runtime: OciRuntime, places: InstanceLayout): Promise<number> {
  const names = await readdir(runtime.root);
  const name = names.find((each) => each.startsWith(`${places.id}_sandbox:`) && each.endsWith('.state'));
  const state: unknown = name && JSON.parse(await readFile(join(runtime.root, name), 'utf8'));
  const { goferPid } = { ...(state as { readonly goferPid?: unknown }) }; // read from any object, and looked at
  if (typeof goferPid !== 'number' || goferPid <= 1) {
    throw new SkerryError('unavailable', `gVisor tells no process that serves the files of ${places.id}.`);
  }
  // A number that means another process by now leads into no namespace but the gofer's own.
  const command = await readFile(`/proc/${goferPid}/cmdline`, 'utf8').catch(() => '');
  if (!command.split('\0').includes('gofer') || !command.includes(places.dir)) {
    throw new SkerryError('sandbox-ended', `The process that serves the files of ${places.id} is gone.`);
  }
  return goferPid;
}
