/** The OCI runtime commands: runc's command line (https://github.com/opencontainers/runc), which gVisor's runsc shares, with each one's own options. */
import { readFile } from 'node:fs/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { delay } from '../../platform/wait.ts';
import type { RuntimeName } from '../engine.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import type { StartsApart } from './starts-apart.ts';
import { faultCodes, treeError } from './trees.ts';

const RUN_TIMEOUT_MS = 60_000;
/** Memory is written at the speed of the disk. */
const CHECKPOINT_TIMEOUT_MS = 10 * 60_000;
/** Freezing a busy container of cgroup version 1 is a matter of luck: its processes may fork faster than they are stopped. */
const PAUSE_TRIES = 8;
const PAUSE_RETRY_MS = 100;

export const NO_ROOM_FOR_MEMORY = 'The machine is out of disk space for a snapshot of the memory.';

/** How gVisor runs programs: works without hardware virtualisation. */
export const PLATFORM = 'systrap';

export class OciRuntime {
  readonly name: RuntimeName;
  readonly #binary: string;
  readonly #root: string;
  readonly #apart: StartsApart | undefined;

  /** @param apart where it starts containers; by default beside all that is mounted on the machine */
  constructor(name: RuntimeName, binary: string, layout: Layout, apart?: StartsApart) {
    this.name = name;
    this.#binary = binary;
    this.#root = layout.runtimeRoot(name);
    this.#apart = apart;
  }

  /** Directory or files of the runtime's own about a container begin with this path. */
  get root(): string {
    return this.#root;
  }

  /**
   * Starts the container of the bundle in the instance's directory and returns when its first process runs.
   * @param needs what of the machine the bundle names
   * @param more options of the runtime's own for this container
   * @param memory where its memory is, for one that goes on from a checkpoint; gVisor's alone
   * @throws SkerryError `internal` with the runtime's own words.
   */
  async start(
    places: InstanceLayout,
    needs: readonly string[],
    signal: AbortSignal,
    more: readonly string[] = [],
    memory?: string,
  ): Promise<void> {
    const argv = this.#argv(
      ['--log', places.runtimeLog, '--log-format', 'json', ...more],
      [
        ...(memory === undefined ? ['run'] : ['restore', '--image-path', memory]),
        ...['--detach', '--bundle', places.dir, '--pid-file', places.pidFile, places.id],
      ],
    );
    try {
      // The container inherits these descriptors: a pipe would be held open by it, and a file could be filled by it.
      const command = (await this.#apart?.command(argv, [places.dir, ...needs])) ?? argv;
      await run(command, { signal, timeoutMs: RUN_TIMEOUT_MS, output: 'discard' });
    } catch (error) {
      signal.throwIfAborted();
      const words = await lastLogMessage(places.runtimeLog);
      if (words === undefined) throw error;
      throw new SkerryError('internal', `${this.name} could not start the sandbox: ${words}`, {
        cause: error,
      });
    }
  }

  /** Whether the container's first process runs, by the runtime's own account. */
  async isRunning(places: InstanceLayout): Promise<boolean> {
    return /^(running|paused)$/.test(await this.#status(places));
  }

  /** Whether it runs but stands still. */
  async isPaused(places: InstanceLayout): Promise<boolean> {
    return (await this.#status(places)) === 'paused';
  }

  /** Empty for a container that it does not know. */
  async #status(places: InstanceLayout): Promise<string> {
    const { stdout } = await run(this.#argv([], ['state', places.id]), { okCodes: [1, 128] });
    return /"status": ?"(\w+)"/.exec(stdout)?.[1] ?? '';
  }

  /** Kills the container and forgets it, whatever state it is in. */
  async delete(places: InstanceLayout): Promise<void> {
    await run(this.#argv([], ['delete', '--force', places.id]));
  }

  /** Sends a signal to the container's first process. */
  async signal(places: InstanceLayout, name: 'CONT' | 'USR1'): Promise<void> {
    await run(this.#argv([], ['kill', places.id, name]));
  }

  /** Changes the limits of a running container. runsc cannot. @param resources `linux.resources` of config.json */
  async update(places: InstanceLayout, resources: object): Promise<void> {
    await run(this.#argv([], ['update', '--resources', '-', places.id]), {
      input: JSON.stringify(resources),
    });
  }

  /**
   * Runs a program in the container that may mount, as only this one may: gVisor's mounts are its own. @returns what it prints
   * @throws SkerryError as `treeError`
   */
  async execMounting(places: InstanceLayout, argv: readonly string[]): Promise<string> {
    const command = ['exec', '--cap', 'CAP_SYS_ADMIN', '--cwd', '/', places.id, ...argv];
    const { code, stdout, stderr } = await run(this.#argv([], command), { okCodes: faultCodes });
    if (code !== 0) throw treeError(code, stderr);
    return stdout;
  }

  /** @throws SkerryError `internal` with the runtime's own words; also when it was too busy again and again */
  async pause(places: InstanceLayout): Promise<void> {
    for (let left = PAUSE_TRIES; ; ) {
      try {
        await run(this.#argv([], ['pause', places.id]));
        return;
      } catch (error) {
        if (--left === 0 || !isTooBusy(error)) throw error;
        await delay(PAUSE_RETRY_MS);
      }
    }
  }

  /**
   * Writes the memory of a container that is paused, and stays so, into an empty directory. What its kernel keeps of files is written to them before. gVisor's alone.
   * @throws SkerryError `disk-full`, `internal`; the signal's reason
   */
  async checkpoint(places: InstanceLayout, memory: string, signal: AbortSignal): Promise<void> {
    const options = ['--leave-running', '--compression=none', '--exclude-committed-zero-pages'];
    try {
      await run(this.#argv([], ['checkpoint', '--image-path', memory, ...options, places.id]), {
        timeoutMs: CHECKPOINT_TIMEOUT_MS,
        signal,
      });
    } catch (error) {
      if (!(error instanceof SkerryError && /no space left on device/i.test(error.message))) throw error;
      throw new SkerryError('disk-full', NO_ROOM_FOR_MEMORY, {
        cause: error,
      });
    }
  }

  async resume(places: InstanceLayout): Promise<void> {
    await run(this.#argv([], ['resume', places.id]));
  }

  #argv(global: readonly string[], command: readonly string[]): [string, ...string[]] {
    return [
      this.#binary,
      '--root',
      this.#root,
      ...(this.name === 'gvisor' ? gvisorOptions : []),
      ...global,
      ...command,
    ];
  }
}

/** Options of runsc that differ from its defaults, or that must not change when the defaults do. */
export const gvisorOptions: readonly string[] = [
  `--platform=${PLATFORM}`,
  '--network=sandbox', // gVisor's own network stack on our namespace's interface
  '--overlay2=none', // writes go to the upper directory, where `commit` finds them
  '--file-access-mounts=shared', // a volume changes from outside while programs look at it
  '--host-uds=open', // the agent dials the server's socket
  '--ignore-cgroups=false',
  '--oci-seccomp=true', // no signal reaches the agent (`seccomp.ts`)
  '--allow-suid', // su, sudo and ping, as under runc
  '--allow-live-tcp-migration=false', // a copy of a sandbox must not go on with connections that the original has
  '--allow-packet-socket-write=false', // frames would go past the firewall's rules
  '--net-raw=true', // ping; raw packets with a foreign source are dropped by the firewall
];

/** runc's words when its own tries have come to nothing (libcontainer/cgroups/fs/freezer.go); it has let everything go on then. */
const isTooBusy = (error: unknown): boolean =>
  error instanceof SkerryError && /unable to freeze/.test(error.message);

/** The last error in a runtime's JSON log. */
async function lastLogMessage(path: string): Promise<string | undefined> {
  const lines = (await readFile(path, 'utf8').catch(() => '')).trim().split('\n').reverse();
  for (const line of lines) {
    try {
      const entry: unknown = JSON.parse(line);
      if (typeof entry !== 'object' || entry === null) continue;
      const { level, msg } = entry as Record<string, unknown>; // any JSON object is a record of unknowns
      if (typeof msg === 'string' && (level === 'error' || level === 'fatal' || level === 'warning'))
        return msg;
    } catch {
      // not a whole line
    }
  }
  return undefined;
}
