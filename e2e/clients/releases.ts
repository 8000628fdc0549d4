/** Which releases of the official clients there are, asked of the registries, and which of them are tried. */
import { z } from 'zod';
import { run } from '../../server/src/platform/command.ts';
import { definedEnvironment } from '../support/server.ts';

export type Language = 'Python' | 'JavaScript' | 'Go';

export interface Release {
  readonly language: Language;
  readonly version: string;
  /** `0.64` */
  readonly minor: string;
}

export const GO_MODULE = 'github.com/modal-labs/modal-client/go';

/** Python clients before it know no sandboxes like today's; JavaScript before 0.5 had another interface. Go's first release is in reach. */
const FIRST: Readonly<Record<Language, string>> = { Python: '0.64', JavaScript: '0.5', Go: '0.0' };
const npmAnswerSchema = z.array(z.object({ version: z.string(), 'repository.url': z.string().optional() }));
const LOOK_UP_TIMEOUT_MS = 120_000;

/** The first and the last release of each minor version, oldest first. @param python an interpreter with pip */
export async function releasesToTry(
  language: Language,
  python: string,
  directory: string,
): Promise<Release[]> {
  const versions = await listed(language, python, directory);
  const byMinor = Map.groupBy(versions.toSorted(compare), minorOf);
  return [...byMinor].flatMap(([minor, all]) => {
    if (compare(minor, FIRST[language]) < 0) return [];
    const ends = [...new Set([all[0], all.at(-1)])].filter((version) => version !== undefined);
    return ends.map((version) => ({ language, version, minor }));
  });
}

async function listed(language: Language, python: string, directory: string): Promise<string[]> {
  const options = { env: definedEnvironment(), cwd: directory, timeoutMs: LOOK_UP_TIMEOUT_MS };
  switch (language) {
    case 'Python': {
      const argv = ['-m', 'pip', 'index', 'versions', 'modal', '--disable-pip-version-check'] as const;
      const { stdout } = await run([python, ...argv], options);
      return (/^Available versions: (.*)$/m.exec(stdout)?.[1] ?? '').split(', ').filter(isRelease);
    }
    case 'JavaScript': {
      const argv = ['view', 'modal@>=0.5.0', 'version', 'repository.url', '--json'] as const;
      const { stdout } = await run(['npm', ...argv], options);
      // The name belonged to another package before, whose last version is higher than all of the client's.
      return npmAnswerSchema
        .parse(JSON.parse(stdout))
        .filter((release) => release['repository.url']?.includes('modal-labs') && isRelease(release.version))
        .map(({ version }) => version);
    }
    case 'Go': {
      const { stdout } = await run(['go', 'list', '-m', '-versions', GO_MODULE], options);
      return stdout.trim().split(' ').slice(1).filter(isRelease);
    }
    default:
      return language satisfies never;
  }
}

const isRelease = (version: string): boolean => /^v?\d+\.\d+\.\d+(\.post\d+)?$/.test(version);
const numbersOf = (version: string): number[] => (version.match(/\d+/g) ?? []).map(Number);
const minorOf = (version: string): string => numbersOf(version).slice(0, 2).join('.');

function compare(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? -1) - (right[index] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}
