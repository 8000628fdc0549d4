/** Control groups of instances, version 1 (each controller its own tree) and 2 (one tree): reading, killing, removing. The runtimes create them. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { delay } from '../../platform/wait.ts';
import type { InstanceStats } from '../engine.ts';

const DEFAULT_ROOT = '/sys/fs/cgroup';
/** Version 1: where a process is found that has no limits, by us and by systemd. Others, like cpuset, take none before they are set up. */
const FINDING_HIERARCHIES = ['pids', 'systemd', 'unified'];
/** Killing is repeated while new processes appear: the limit of processes is what a fork bomb cannot outrun. */
const KILL_DEADLINE_MS = 10_000;

export interface GroupLimits {
  readonly memoryMiB: number;
  /** Processes and threads together. */
  readonly pids: number;
}

export class Cgroups {
  readonly version: 1 | 2;
  readonly #root: string;
  /** Directories whose subtrees hold instance cgroups: the root itself, or one per mounted v1 hierarchy. */
  readonly #hierarchies: readonly string[];

  private constructor(version: 1 | 2, root: string, hierarchies: readonly string[]) {
    this.version = version;
    this.#root = root;
    this.#hierarchies = hierarchies;
  }

  /** Looks at what is mounted. A hybrid machine (v1 controllers and an empty v2 tree beside them) counts as version 1. */
  static async detect(root: string = DEFAULT_ROOT): Promise<Cgroups> {
    if (existsSync(join(root, 'cgroup.controllers'))) return new Cgroups(2, root, [root]);
    const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
    const trees = entries
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(root, entry.name))
      .filter((path) => existsSync(join(path, 'cgroup.procs')));
    return new Cgroups(1, root, trees);
  }

  /** The controllers the limits need that are not there. */
  async missingControllers(): Promise<string[]> {
    const needed = ['memory', 'cpu', 'pids'];
    if (this.version === 1)
      return needed.filter((name) => !existsSync(join(this.#root, name, 'cgroup.procs')));
    const text = await readFile(join(this.#root, 'cgroup.controllers'), 'utf8').catch(() => '');
    return needed.filter((name) => !text.split(/\s+/).includes(name));
  }

  /** Whether the kernel can limit swap. */
  get limitsSwap(): boolean {
    return this.version === 1
      ? existsSync(join(this.#root, 'memory', 'memory.memsw.limit_in_bytes'))
      : existsSync('/proc/swaps');
  }

  async stats(cgroup: string): Promise<InstanceStats> {
    const read = async (controller: string, file: string): Promise<string> =>
      readFile(join(this.#root, this.version === 1 ? controller : '', cgroup, file), 'utf8').catch(() => '');
    if (this.version === 1) {
      const [memory, cpu, pids] = await Promise.all([
        read('memory', 'memory.usage_in_bytes'),
        read('cpuacct', 'cpuacct.usage'),
        read('pids', 'pids.current'),
      ]);
      return {
        memoryBytes: Number(memory),
        cpuUsageNs: Number(cpu),
        pids: Number(pids),
        oomKills: await this.oomKills(cgroup),
      };
    }
    const [memory, cpu, pids] = await Promise.all([
      read('', 'memory.current'),
      read('', 'cpu.stat'),
      read('', 'pids.current'),
    ]);
    return {
      memoryBytes: Number(memory),
      cpuUsageNs: field(cpu, 'usage_usec') * 1000,
      pids: Number(pids),
      oomKills: await this.oomKills(cgroup),
    };
  }

  /** Bounds the memory of a group anew, with swap where that is bounded. */
  async boundMemory(cgroup: string, bytes: number): Promise<void> {
    const text = String(bytes);
    if (this.version === 2) return writeFile(join(this.#root, cgroup, 'memory.max'), text);
    const files = ['memory.limit_in_bytes', ...(this.limitsSwap ? ['memory.memsw.limit_in_bytes'] : [])];
    const paths = files.map((name) => join(this.#root, 'memory', cgroup, name));
    // The second must never be below the first: which one goes first depends on whether there is more or less from now on.
    const [first = ''] = paths;
    const grows = Number(await readFile(first, 'utf8')) < bytes;
    for (const path of grows ? paths.toReversed() : paths) await writeFile(path, text);
  }

  /** How often the kernel killed a process of the group for memory. 0 when the group is gone. */
  async oomKills(cgroup: string): Promise<number> {
    const path =
      this.version === 1
        ? join(this.#root, 'memory', cgroup, 'memory.oom_control')
        : join(this.#root, cgroup, 'memory.events');
    return field(await readFile(path, 'utf8').catch(() => ''), 'oom_kill');
  }

  /** Makes a group without limits, for a process of ours. @returns the files to which that one writes 0 to enter it */
  async make(cgroup: string): Promise<string[]> {
    const trees = this.#hierarchies.filter(
      (tree) => this.version === 2 || FINDING_HIERARCHIES.includes(basename(tree)),
    );
    const groups = trees.map((tree) => join(tree, cgroup));
    await Promise.all(groups.map((group) => mkdir(group, { recursive: true })));
    return groups.map((group) => join(group, 'cgroup.procs'));
  }

  /** Makes a group with limits, for programs of ours that work for an instance. @returns as `make` */
  async makeLimited(cgroup: string, { memoryMiB, pids }: GroupLimits): Promise<string[]> {
    const bytes = String(memoryMiB * 2 ** 20);
    const files = await this.make(cgroup);
    if (this.version === 2) {
      await this.#delegate(cgroup);
      await writeFile(join(this.#root, cgroup, 'memory.max'), bytes);
      await writeFile(join(this.#root, cgroup, 'pids.max'), String(pids));
      return files;
    }
    const memory = join(this.#root, 'memory', cgroup);
    await mkdir(memory, { recursive: true });
    await writeFile(join(memory, 'memory.limit_in_bytes'), bytes);
    await writeFile(join(this.#root, 'pids', cgroup, 'pids.max'), String(pids));
    return [...files, join(memory, 'cgroup.procs')];
  }

  /** Bounds the processes and threads of a group and of all below it together. */
  async boundProcesses(cgroup: string, pids: number): Promise<void> {
    await this.make(cgroup);
    if (this.version === 2) await this.#delegate(cgroup);
    await writeFile(join(this.#root, this.version === 1 ? 'pids' : '', cgroup, 'pids.max'), String(pids));
  }

  /** Version 2: has the groups above it hand the controllers down. A runtime does the same for its own. */
  async #delegate(cgroup: string): Promise<void> {
    const above = cgroup.split('/').filter(Boolean).slice(0, -1);
    for (let depth = 0; depth <= above.length; depth++) {
      const file = join(this.#root, ...above.slice(0, depth), 'cgroup.subtree_control');
      const handed = new Set((await readFile(file, 'utf8')).split(/\s+/));
      if (!['memory', 'pids'].every((name) => handed.has(name))) await writeFile(file, '+memory +pids');
    }
  }

  /** Kills everything in the group (frozen or not) and waits until it is empty. */
  async kill(cgroup: string): Promise<void> {
    const deadline = Date.now() + KILL_DEADLINE_MS;
    for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
      const pids = await this.#processes(cgroup);
      if (pids.size === 0) return;
      if (Date.now() > deadline) {
        throw new SkerryError('internal', `${pids.size} processes of ${cgroup} did not die.`);
      }
      if (this.version === 2) {
        await writeFile(join(this.#root, cgroup, 'cgroup.kill'), '1').catch(() => killEach(pids));
        await writeFile(join(this.#root, cgroup, 'cgroup.freeze'), '0').catch(() => {});
      } else {
        killEach(pids);
        await writeFile(join(this.#root, 'freezer', cgroup, 'freezer.state'), 'THAWED').catch(() => {});
      }
      await delay(pause);
    }
  }

  /** Removes the group and its children, which must be empty, from every hierarchy. */
  async remove(cgroup: string): Promise<void> {
    await Promise.all(this.#hierarchies.map((tree) => removeTree(join(tree, cgroup))));
  }

  /** Names of the groups directly below `parent`, in any hierarchy. */
  async children(parent: string): Promise<Set<string>> {
    const names = new Set<string>();
    for (const tree of this.#hierarchies) {
      const entries = await readdir(join(tree, parent), { withFileTypes: true }).catch(() => []);
      for (const entry of entries) if (entry.isDirectory()) names.add(entry.name);
    }
    return names;
  }

  async #processes(cgroup: string): Promise<Set<number>> {
    const pids = new Set<number>();
    const collect = async (directory: string): Promise<void> => {
      const text = await readFile(join(directory, 'cgroup.procs'), 'utf8').catch(() => '');
      for (const line of text.split('\n')) if (line !== '' && line !== '0') pids.add(Number(line));
      const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
      await Promise.all(entries.filter((e) => e.isDirectory()).map((e) => collect(join(directory, e.name))));
    };
    await Promise.all(this.#hierarchies.map((tree) => collect(join(tree, cgroup))));
    return pids;
  }
}

const field = (text: string, name: string): number =>
  Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1] ?? 0);

function killEach(pids: Iterable<number>): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it died meanwhile
    }
  }
}

/** cgroup directories are removed bottom-up with rmdir only; a group stays busy for a moment after its last process was reaped. */
async function removeTree(directory: string): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => undefined);
  if (!entries) return;
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(directory, entry.name));
  for (let pause = 1; ; pause *= 2) {
    try {
      return await rmdir(directory);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException; // what node:fs throws
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' || pause > 1000) throw error;
      await delay(pause);
    }
  }
}
