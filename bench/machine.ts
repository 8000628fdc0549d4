/** Describes the machine a table was made on, without naming it. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { run } from '../server/src/platform/command.ts';

const GiB = 1 << 30;

/** The commit a clone is at, abbreviated. */
export const commitOf = async (clone: string): Promise<string> =>
  (await run(['git', '-C', clone, 'rev-parse', '--short', 'HEAD'])).stdout.trim();

/** Lines of a Markdown list. */
export async function describeMachine(): Promise<string[]> {
  const osName = /PRETTY_NAME="(.*)"/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux';
  const version = async (argv: readonly [string, ...string[]]) => {
    const output = await run(argv).catch(() => ({ stdout: 'not installed' }));
    return output.stdout.trim().split('\n')[0] ?? '';
  };
  const processors = cpus();
  return [
    `- ${processors.length} × ${processors[0]?.model ?? 'unknown processor'}, ${Math.round(totalmem() / GiB)} GiB of memory`,
    `- ${osName}, Linux ${release()}, Node.js ${process.versions.node}`,
    `- ${await version(['runc', '--version'])}; ${await version(['docker', '--version'])}`,
    `- Skerry at commit ${await commitOf('.')}`,
  ];
}
