/** Installs one release of a client in a folder of its own and says how its program is run. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';
import { definedEnvironment, projectRoot } from '../support/server.ts';
import { GO_MODULE, type Release } from './releases.ts';

const here = join(projectRoot, 'e2e/clients');
const INSTALL_TIMEOUT_MS = 600_000;
/** Ends what was installed whole; its text is the command. */
const STAMP = 'installed';

/** The command that runs the program with this release. Kept between runs. @throws when it cannot be installed */
export async function install(
  { language, version }: Release,
  python: string,
  directory: string,
): Promise<[string, ...string[]]> {
  const stamp = join(directory, STAMP);
  const done = (command: readonly string[]) => writeFileSync(stamp, JSON.stringify(command));
  if (!existsSync(stamp)) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    switch (language) {
      case 'Python':
        done(await installPython(version, python, directory));
        break;
      case 'JavaScript':
        done(await installJavaScript(version, directory));
        break;
      case 'Go':
        done(await installGo(version, directory));
        break;
      default:
        language satisfies never;
    }
  }
  // Where it finds this release.
  if (language === 'JavaScript') cpSync(join(here, 'program.mjs'), join(directory, 'program.mjs'));
  // Only `done` writes it.
  return JSON.parse(readFileSync(stamp, 'utf8')) as [string, ...string[]];
}

const options = (cwd: string) => ({
  cwd,
  env: { ...definedEnvironment(), CGO_ENABLED: '0' },
  timeoutMs: INSTALL_TIMEOUT_MS,
});

async function installPython(version: string, python: string, directory: string): Promise<string[]> {
  const venv = join(directory, 'venv');
  const own = join(venv, 'bin/python');
  await run([python, '-m', 'venv', '--without-pip', venv], options(directory));
  const pip = [python, '-m', 'pip', '--python', own, '--disable-pip-version-check'] as const;
  await run([...pip, 'install', '--quiet', `modal==${version}`], options(directory));
  return [own, join(here, 'program.py')];
}

async function installJavaScript(version: string, directory: string): Promise<string[]> {
  writeFileSync(join(directory, 'package.json'), '{"private": true, "type": "module"}\n');
  await run(['npm', 'install', '--no-audit', '--no-fund', `modal@${version}`], options(directory));
  const program = join(directory, 'program.mjs');
  return [process.execPath, program];
}

/** The interface of the module changed twice: what is written for one that it has not does not compile. */
const goInterfaces = ['field', 'method', 'open'];

async function installGo(version: string, directory: string): Promise<string[]> {
  writeFileSync(join(directory, 'go.mod'), 'module example.com/every-client\n\ngo 1.25.0\n');
  cpSync(join(here, 'go/main.go.txt'), join(directory, 'main.go'));
  await run(['go', 'get', `${GO_MODULE}@${version}`], options(directory));
  const binary = join(directory, 'program');
  const refusals: unknown[] = [];
  for (const name of goInterfaces) {
    cpSync(join(here, `go/${name}.go.txt`), join(directory, 'interface.go'));
    try {
      await run(['go', 'build', '-mod=mod', '-o', binary, '.'], options(directory));
      return [binary];
    } catch (error) {
      refusals.push(error);
    }
  }
  throw new AggregateError(refusals, `no interface compiles with ${version}: ${refusals.join('\n')}`);
}
