/** Programs of other people that drive Modal sandboxes and are run as they stand against Skerry (`npm run test:programs`, docs/compatibility.md). */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capture, which } from './command.mjs';
import { localDir } from './paths.mjs';
import { findPython } from './toolchains.mjs';

/** Each in a directory of its own, with what its registry gives for exactly these versions. */
export const programs = [
  { name: 'modal-sandbox-sdk', pip: ['modal-sandbox-sdk==0.4.1'] },
  { name: 'bellhop', pip: ['bellhop-py[modal]==0.10.0'] },
  { name: 'openai-agents', pip: ['openai-agents[modal]==0.24.0'] },
  // It calls `Sandbox.open`, which clients from 1.6 on do not have.
  { name: 'langchain-modal', pip: ['langchain-modal==0.0.7', 'modal==1.5.5'] },
  { name: 'harbor', pip: ['harbor[modal]==0.26.0'], python: ['python3.12', 'python3.13', 'python3.14'] },
  // It reads a bound of the client's that those from 1.6 on keep elsewhere.
  {
    name: 'inspect-sandboxes',
    pip: ['inspect-sandboxes==0.6.1', 'inspect-ai==0.3.285', 'modal==1.5.5'],
    python: ['python3.12', 'python3.13', 'python3.14'],
  },
  { name: 'swe-rex', pip: ['swe-rex[modal]==1.4.0'] },
  { name: 'computesdk', npm: ['@computesdk/modal@1.9.4'] },
];

export const programDir = (name) => join(localDir, 'programs', name);

/** Installs a program. @returns a note, or undefined where no Python it can use was found */
export async function ensureProgram({ name, pip, npm, python }, progress) {
  const directory = programDir(name);
  const stamp = join(directory, 'installed');
  const wanted = JSON.stringify({ pip, npm });
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return 'up to date';
  const interpreter = npm ? undefined : python ? await firstThatRuns(python) : await findPython(progress);
  if (!npm && interpreter === undefined) return undefined;
  rmSync(directory, { recursive: true, force: true });
  if (npm) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), '{ "private": true }\n');
    const quiet = ['--no-audit', '--no-fund', '--ignore-scripts'];
    await capture([which('npm') ?? 'npm', 'install', ...quiet, ...npm], { cwd: directory, progress });
  } else {
    await capture([interpreter, '-m', 'venv', directory], { progress });
    const install = ['-m', 'pip', 'install', '--disable-pip-version-check'];
    await capture([join(directory, 'bin', 'python'), ...install, ...pip], { progress });
  }
  writeFileSync(stamp, wanted);
  return 'installed';
}

async function firstThatRuns(names) {
  for (const name of names) {
    const path = which(name);
    // A version manager puts names into PATH that only say how to install them.
    const runs = path && (await capture([path, '-c', 'import ensurepip, venv']).catch(() => undefined));
    if (runs !== undefined) return path;
  }
  return undefined;
}
