/** Everything on the machine that an engine could leave behind, as lines to compare before and after. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../platform/command.ts';

/** @param words only traces that mention one of these count: other servers and tests run on the machine at the same time. */
export async function hostTraces(words: readonly string[]): Promise<string[]> {
  const { stdout: rules } = await run(['nft', 'list', 'tables']);
  const { stdout: addresses } = await run(['ip', '-o', 'address']);
  const lists = await Promise.all([
    lines('mount', withoutNumbers(await readFile('/proc/self/mountinfo', 'utf8'))),
    lines('table', rules),
    lines('address', addresses),
    names('netns', '/run/netns'),
    names('link', '/sys/class/net'),
    names('run', '/run'),
    runtimeStates(),
    cgroups(),
    processes(),
  ]);
  return lists
    .flat()
    .filter((line) => words.some((word) => line.includes(word)))
    .sort();
}

/** The kernel has others for a mount that the next server makes anew, and for the mount namespace that it holds. */
const withoutNumbers = (mounts: string): string =>
  mounts.replaceAll(/^\d+ \d+ /gm, '').replaceAll(/ mnt:\[\d+\] /g, ' mnt ');

const lines = (kind: string, text: string): string[] => text.split('\n').map((line) => `${kind} ${line}`);

const names = async (kind: string, directory: string): Promise<string[]> =>
  (await readdir(directory).catch(() => [])).map((name) => `${kind} ${name}`);

/** What the runtimes keep about containers, in the run directory of each engine. */
async function runtimeStates(): Promise<string[]> {
  const engines = (await readdir('/run')).filter((name) => name.startsWith('skerry-'));
  const places = engines.flatMap((engine) => ['runc', 'gvisor'].map((runtime) => join(engine, runtime)));
  return (await Promise.all(places.map((place) => names(`state ${place}`, join('/run', place))))).flat();
}

async function cgroups(): Promise<string[]> {
  const { stdout } = await run(['find', '/sys/fs/cgroup', '-path', '*skerry-*', '-type', 'd'], {
    okCodes: [1],
  });
  return lines('cgroup', stdout);
}

/**
 * Processes by program, arguments and cgroup, which is what tells those in a sandbox. One that is dead and waits for the machine's init to reap it holds
 * nothing any more and does not count; one whose parent we are would be a leak.
 */
function processes(): string[] {
  const found: string[] = [];
  // In one go: the kernel has all of it, and to wait for each of thousands of reads takes several times of the processor.
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const status = ofProcess(pid, 'status');
    const command = ofProcess(pid, 'cmdline');
    const cgroup = ofProcess(pid, 'cgroup');
    const executable = ofProcess(pid, 'exe', readlinkSync);
    const reapable =
      /^State:\s+[ZX]/m.test(status) && !new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(status);
    if (Number(pid) !== process.pid && !reapable) {
      found.push(`process ${executable} ${command.replaceAll('\0', ' ')} ${cgroup.replaceAll('\n', ' ')}`);
    }
  }
  return found;
}

/** Nothing once it has ended. */
function ofProcess(pid: string, name: string, read: (path: string) => string = readText): string {
  try {
    return read(join('/proc', pid, name));
  } catch {
    return '';
  }
}

const readText = (path: string) => readFileSync(path, 'utf8');
