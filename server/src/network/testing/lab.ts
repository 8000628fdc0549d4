/** Machines of a test's own: network namespaces, the first of which a program plays the part of a server in. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';
import { placeByCommand } from './resolver-place.ts';

/** A program tries much, one thing after the other. */
const TIMEOUT_MS = 5 * 60_000;

/** The sockets of the processes of a machine that keeps its files in a directory. */
export const resolverSocket = (directory: string): string => join(directory, 'resolver.sock');
export const egressSocket = (directory: string): string => join(directory, 'egress.sock');

/** Who says when it is over: the context of a test. */
export interface Ending {
  after(end: () => Promise<void>): void;
}

export class Lab {
  /** For the files of the first machine. */
  readonly directory: string;
  readonly #host: string;

  /** @param names of network namespaces, which are made; the first is the server's. All is removed after the test, also what a program leaves that is broken off. */
  static async open(t: Ending, names: readonly [string, ...string[]]): Promise<Lab> {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const directory = await mkdtemp(join(tmpdir(), 'skerry-network-'));
    cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
    for (const name of names) {
      await run(['ip', 'netns', 'add', name]);
      cleanup.add('namespace', () => run(['ip', 'netns', 'del', name]));
    }
    const [host] = names;
    const { ino } = await stat(join('/run/netns', host));
    cleanup.add('forwarding', async () => {
      const left = (await readdir('/run')).filter((name) => name.startsWith('skerry-forwarding-'));
      for (const name of left) if (name.split('-').includes(String(ino))) await rm(join('/run', name));
    });
    cleanup.add('resolver', placeByCommand(resolverSocket(directory)).clear);
    cleanup.add('egress proxy', placeByCommand(egressSocket(directory)).clear);
    return new Lab(directory, host);
  }

  private constructor(directory: string, host: string) {
    this.directory = directory;
    this.#host = host;
  }

  /**
   * Lays a cable from the first machine to another one, which it sends everything to.
   * @param ends addresses of both on it, the first machine's first. @param more addresses of the other one
   */
  async connect(other: string, ends: readonly [string, string], more: readonly string[] = []): Promise<void> {
    const host = this.#host;
    await this.ip([
      `link add uplink netns ${host} type veth peer name uplink netns ${other}`,
      `-n ${host} addr add ${ends[0]}/24 dev uplink`,
      `-n ${other} addr add ${ends[1]}/24 dev uplink`,
      ...more.map((address) => `-n ${other} addr add ${address}/32 dev lo`),
      ...[host, other].flatMap((name) => [`-n ${name} link set uplink up`, `-n ${name} link set lo up`]),
      `-n ${host} route add default via ${ends[1]}`,
    ]);
  }

  /** @param lines arguments of ip(8), separated by single spaces */
  async ip(lines: readonly string[]): Promise<void> {
    for (const line of lines) await run(['ip', ...line.split(' ')]);
  }

  /** What a program prints on the first machine, as JSON. */
  async play(program: string, args: readonly string[]): Promise<unknown> {
    const command = [process.execPath, '--no-warnings', program, ...args];
    const { stdout } = await run(['ip', 'netns', 'exec', this.#host, ...command], { timeoutMs: TIMEOUT_MS });
    return JSON.parse(stdout);
  }
}
