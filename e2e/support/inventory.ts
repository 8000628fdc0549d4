/** What a server can leave on a machine: tests list it before and after. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { instanceName } from '../../server/src/engines/oci/layout.ts';
import { run } from '../../server/src/platform/command.ts';

/**
 * Everything on this machine that belongs to the server of a data directory, one thing a line, sorted. All of it carries the
 * server's instance name or a path of its data directory; what other programs do at the same time is not listed.
 */
export async function inventory(dataDir: string): Promise<string[]> {
  const instance = instanceName(dataDir);
  const ours = (line: string) => line.includes(instance) || line.includes(dataDir);
  const found = [
    ...mounts(),
    ...(await listed('link', ['ip', '-o', 'link'])),
    ...(await listed('address', ['ip', '-o', '-4', 'address'])),
    ...(await listed('netns', ['ip', 'netns', 'list'])),
    ...(await listed('nft', ['nft', 'list', 'tables'])),
    ...(await listed('iptables', ['iptables-save'])),
    ...cgroups('/sys/fs/cgroup', 3),
    ...processes(),
    ...['/run', '/var/run', '/var/lib', '/dev/shm'].flatMap((dir) =>
      readdirSync(dir).map((name) => `path ${join(dir, name)}`),
    ),
  ];
  return [...new Set(found.filter(ours))].sort();
}

/** Whether a line of the inventory is of one sandbox: what is prepared for any, network namespaces for one, is the server's. */
export const isOfASandbox = (line: string): boolean =>
  /^(mount|cgroup|process) .*\bin-[0-9A-Za-z]{22}\b/.test(line);

function mounts(): string[] {
  const lines = readFileSync('/proc/mounts', 'utf8').split('\n');
  return lines.map((line) => `mount ${line.split(' ').slice(0, 2).join(' ')}`);
}

/** Output lines of a tool; a tool that is not there has nothing to list. */
async function listed(kind: string, argv: readonly [string, ...string[]]): Promise<string[]> {
  const { stdout } = await run(argv, { okCodes: [1, 2, 3] }).catch(() => ({ stdout: '' }));
  return stdout.split('\n').map((line) => `${kind} ${line}`);
}

function cgroups(dir: string, depth: number): string[] {
  if (depth === 0) return [];
  let children: string[];
  try {
    children = readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(dir, name));
  } catch {
    return []; // removed meanwhile
  }
  return children.flatMap((child) => [`cgroup ${child}`, ...cgroups(child, depth - 1)]);
}

/** A process belongs to a sandbox by its cgroup; its command line is the program's own affair. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 300);
        const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
        const group = groups
          .map((line) => line.split(':')[2] ?? '')
          .find((path) => path.includes('/skerry-'));
        return [`process ${pid} ${argv} cwd=${readlinkSync(`/proc/${pid}/cwd`)} cgroup=${group ?? ''}`];
      } catch {
        return []; // ended meanwhile
      }
    });
}
