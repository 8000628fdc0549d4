/** The processes of a fake instance: the agent as the first one of namespaces of its own, which take all others with them when it dies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { baseEnvironment } from '../../platform/command.ts';
import { delay } from '../../platform/wait.ts';
import type { InstanceStats } from '../engine.ts';
import { identify, isAlive, type ProcessIdentity } from '../oci/process-identity.ts';
import { GUEST_AGENT, GUEST_AGENT_SOCKET } from '../paths.ts';
import type { FakeProgram } from './fake-checkpoint.ts';
import type { FakePlaces } from './fake-engine.ts';
import { namesIn } from './fake-root.ts';

/** In the environment of what is ours, so that it is found without any record. */
const MARK = 'SKERRY_FAKE_INSTANCE';
/** `unshare` waits for what it started, and takes it along when it is killed. */
const UNSHARE = ['unshare', '--uts', '--ipc', '--mount', '--pid', '--fork', '--kill-child'];
/** Arguments: mount table, hostname, root, agent, socket; the last one says whether the network is new. */
const START = `exec 2>"$5"; mount --all --fstab "$0" && hostname "$1" || exit 1
if [ "$6" = new ]; then ip link set lo up || exit 1; fi
exec chroot "$2" "$3" "$4"`;
/** Clock ticks a second in /proc/pid/stat: constant on Linux, whatever the kernel's own clock, time(7). */
const TICK_NS = 1e9 / 100;
const POLL_MS = 2;

export interface FakeIdentities {
  /** Waits for the first process; has the network namespace as well. */
  readonly starter: ProcessIdentity;
  /** The agent. */
  readonly init: ProcessIdentity;
}

export interface FakeProcessOptions {
  readonly network?: FakeProcess | undefined;
  readonly environment?: Readonly<Record<string, string>>;
}

export class FakeProcess {
  /** Resolves when a process that this object started has died; never for an adopted one. */
  readonly exited: Promise<void>;
  readonly #dir: string;
  #identities: FakeIdentities | undefined;
  readonly #child: ChildProcess | undefined;

  /** @param more.network whose network it joins; a new one without @param more.environment of the agent */
  static async start(
    places: FakePlaces,
    hostname: string,
    { network, environment }: FakeProcessOptions = {},
  ): Promise<FakeProcess> {
    const own = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const join = network ? await network.#join() : [];
    const [program, ...args] = [
      ...join,
      ...UNSHARE,
      ...(network ? [] : [...own, '--net']),
      ...['sh', '-c', START, places.mountTable, hostname, places.root, GUEST_AGENT, GUEST_AGENT_SOCKET],
      ...[places.errors, network ? 'joined' : 'new'],
    ];
    await (await open(places.errors, 'w')).close();
    // Not `run`: it goes on when the process that started it ends, as instances do.
    const child = spawn(program ?? '', args, {
      detached: true,
      stdio: 'ignore',
      env: { ...baseEnvironment(), ...environment, [MARK]: places.dir },
    });
    child.unref();
    await once(child, 'spawn');
    return new FakeProcess(places.dir, child, undefined);
  }

  /** What an earlier engine started; without `identities` it never came up, if it is there at all. */
  static adopt(dir: string, identities: FakeIdentities | undefined): FakeProcess {
    return new FakeProcess(dir, undefined, identities);
  }

  /** Directories of instances below `directory` that processes are left of. */
  static async below(directory: string): Promise<string[]> {
    return (await marked((dir) => dir.startsWith(`${directory}/`))).map(({ dir }) => dir);
  }

  private constructor(dir: string, child: ChildProcess | undefined, identities: FakeIdentities | undefined) {
    this.#dir = dir;
    this.#child = child;
    this.#identities = identities;
    const exited = Promise.withResolvers<void>();
    child?.once('exit', () => exited.resolve());
    this.exited = exited.promise;
  }

  /** To be asked for once the agent is up. */
  async identities(): Promise<FakeIdentities> {
    if (this.#identities) return this.#identities;
    const pid = this.#child?.pid;
    const [first] = pid === undefined ? [] : await children(pid);
    const starter = pid === undefined ? undefined : await identify(pid);
    const init = first === undefined ? undefined : await identify(first);
    if (!starter || !init) throw new Error(`the instance in ${this.#dir} died as it started`);
    this.#identities = { starter, init };
    return this.#identities;
  }

  async alive(): Promise<boolean> {
    return isAlive((await this.identities()).init);
  }

  /** Kills the agent, as a crash would; resolves when it is dead. */
  async crash(): Promise<void> {
    const { init } = await this.identities();
    if (await isAlive(init)) killPid(init.pid);
    while (await isAlive(init)) await delay(POLL_MS);
  }

  /** Stops the agent, which says nothing from then on. */
  async silence(): Promise<void> {
    const { init } = await this.identities();
    if (await isAlive(init)) process.kill(init.pid, 'SIGSTOP');
  }

  /** What of these runs now. */
  async programs(
    listed: readonly { readonly id: string; readonly pid: number }[],
  ): Promise<readonly FakeProgram[]> {
    const { init } = await this.identities();
    const found = await Promise.all(
      (await children(init.pid)).map(async (pid) => {
        const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
        const number = Number(/^NSpid:.*\t(\d+)$/m.exec(await read('status'))?.[1]);
        const id = listed.find((process) => process.pid === number)?.id;
        if (id === undefined) return [];
        const words = async (name: string) => (await read(name)).split('\0').slice(0, -1);
        const variables = (await words('environ')).map((text): [string, string] => {
          const at = text.indexOf('=');
          return [text.slice(0, at), text.slice(at + 1)];
        });
        return [{ id, argv: await words('cmdline'), env: Object.fromEntries(variables), cwd: '/' }];
      }),
    );
    return found.flat();
  }

  /** Ends that. */
  async wake(): Promise<void> {
    const { init } = await this.identities();
    if (await isAlive(init)) process.kill(init.pid, 'SIGCONT');
  }

  /** Kills everything; resolves when nothing is left. */
  async kill(): Promise<void> {
    if (this.#identities) {
      const { starter, init } = this.#identities;
      // The first one takes all others of its namespace with it before it is gone itself.
      for (const identity of [init, starter]) if (await isAlive(identity)) killPid(identity.pid);
      while ((await isAlive(init)) || (await isAlive(starter))) await delay(POLL_MS);
      return;
    }
    for (let left = await this.#marked(); left.length > 0; left = await this.#marked()) {
      for (const { pid } of left) killPid(pid);
      await delay(POLL_MS);
    }
  }

  async stats(): Promise<Omit<InstanceStats, 'oomKills'>> {
    const { init } = await this.identities();
    const stats = { memoryBytes: 0, cpuUsageNs: 0, pids: 0 };
    for (const pid of await family(init.pid)) {
      const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
      if (text === undefined) continue;
      const fields = text
        .slice(text.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number);
      // utime, stime and those of children that were waited for; resident pages. proc(5), less the two fields cut off.
      stats.cpuUsageNs += fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) * TICK_NS;
      stats.memoryBytes += (fields[21] ?? 0) * 4096;
      stats.pids++;
    }
    return stats;
  }

  async #join(): Promise<string[]> {
    const { starter } = await this.identities();
    const user = process.getuid?.() === 0 ? [] : ['--user', '--preserve-credentials'];
    return ['nsenter', `--target=${starter.pid}`, '--net', ...user];
  }

  #marked() {
    return marked((dir) => dir === this.#dir);
  }
}

async function marked(match: (dir: string) => boolean): Promise<{ pid: number; dir: string }[]> {
  const found = await Promise.all(
    (await namesIn('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map(async (name) => {
        const environment = await readFile(join('/proc', name, 'environ'), 'utf8').catch(() => '');
        const entry = environment.split('\0').find((each) => each.startsWith(`${MARK}=`));
        const dir = entry?.slice(MARK.length + 1);
        return dir !== undefined && match(dir) && (await identify(Number(name)))
          ? [{ pid: Number(name), dir }]
          : [];
      }),
  );
  return found.flat();
}

/** All children, of whichever thread. */
async function children(pid: number): Promise<number[]> {
  const lists = await Promise.all(
    (await namesIn(`/proc/${pid}/task`)).map((thread) =>
      readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => ''),
    ),
  );
  return lists.flatMap((list) =>
    list
      .split(' ')
      .filter((word) => word !== '')
      .map(Number),
  );
}

async function family(pid: number): Promise<number[]> {
  const found = [pid];
  for (const child of await children(pid)) found.push(...(await family(child)));
  return found;
}

function killPid(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // what process.kill throws
  }
}
