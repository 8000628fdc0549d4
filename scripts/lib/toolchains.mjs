/** What is compiled or installed from language registries: Node packages, the agent, the official Python client. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { capture, which } from './command.mjs';
import { localDir, root } from './paths.mjs';
import { SetupError } from './step.mjs';
import {
  aptCandidate,
  buildPackages,
  ensurePackages,
  installPackages,
  updatePackageLists,
} from './system-packages.mjs';
import { isAtLeast, parseVersion } from './versions.mjs';

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/**
 * Whether node_modules holds what package-lock.json names. npm's own record of what it installed is compared entry by entry, so a
 * `npm install` done by hand counts too; optional packages (binaries of other platforms) may be absent.
 */
export function nodeModulesAreFresh(directory = root) {
  const installed = join(directory, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const have = readJson(installed).packages;
  return Object.entries(readJson(join(directory, 'package-lock.json')).packages).every(([path, wanted]) => {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) return true;
    const found = have[path];
    if (found === undefined) return wanted.optional === true || wanted.peer === true;
    return found.version === wanted.version && found.link === wanted.link;
  });
}

export async function ensureNodeModules(progress) {
  if (nodeModulesAreFresh()) return 'up to date';
  await capture(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=http'], { cwd: root, progress });
  return 'installed from package-lock.json';
}

/** Of a file, or of everything in a directory. */
export const newestMtimeMs = (path) => {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newestMtimeMs(join(path, name))));
};

const cargoCandidates = () => {
  const byHand = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin', 'cargo');
  return [...new Set([which('cargo'), byHand, '/usr/bin/cargo'])].filter((path) => path && existsSync(path));
};

/** The first cargo on the machine that is new enough, and those that are not (or do not work). */
export async function findCargo(wanted) {
  const others = [];
  for (const path of cargoCandidates()) {
    const answer = await capture([path, '--version']).catch(() => 'does not work');
    if (isAtLeast(parseVersion(answer), wanted)) return { cargo: path, others };
    others.push(`${path}: ${answer.trim()}`);
  }
  return { cargo: undefined, others };
}

/**
 * Debian's package of a cargo that is new enough: `cargo` itself, or `cargo-web`, the newer one that Debian keeps for its browsers
 * (Debian 12's `cargo` is 1.65, which fetches the index of crates by git).
 */
async function cargoPackage(wanted) {
  for (const name of ['cargo', 'cargo-web']) {
    if (isAtLeast(parseVersion((await aptCandidate(name)) ?? ''), wanted)) {
      return { name, command: 'cargo', purpose: 'builds the agent' };
    }
  }
  return undefined;
}

/**
 * A cargo that can build the agent, installed if there is none. Never replaces one that is there: it is somebody's.
 * @throws SetupError
 */
async function ensureCargo(progress) {
  const manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8');
  const lowest = /^rust-version = "(.+)"$/m.exec(manifest)?.[1] ?? '';
  const wanted = parseVersion(lowest);
  const { cargo, others } = await findCargo(wanted);
  if (cargo !== undefined) return cargo;
  if (others.length > 0) {
    throw new SetupError(
      `The agent needs Rust ${lowest} or newer. Too old or not working:\n  ${others.join('\n  ')}\n` +
        'Put a newer one into PATH (https://rustup.rs), or let Debian replace its own: apt-get install cargo-web',
    );
  }
  const canInstall = which('apt-get') !== undefined && process.getuid?.() === 0;
  if (canInstall) await updatePackageLists(progress);
  const chosen = await cargoPackage(wanted);
  if (chosen === undefined && canInstall) {
    throw new SetupError(
      `The agent needs Rust ${lowest} or newer, and no package of this machine has it. Install it from https://rustup.rs`,
    );
  }
  await installPackages(
    [chosen ?? { name: 'cargo', purpose: `builds the agent, ${lowest} or newer` }],
    progress,
  );
  const installed = await findCargo(wanted);
  if (installed.cargo === undefined) throw new SetupError('cargo was installed but is not found in PATH');
  return installed.cargo;
}

/** The programs in Rust, in `target/release/`. */
export const rustPrograms = [
  'gvisor-sentry-prewarmer',
  'skerry-agent',
  'skerry-connections',
  'skerry-egress',
  'skerry-launcher',
  'skerry-pod-link',
  'skerry-resolver',
  'skerry-supervisor',
  'skerry-trees',
];

/** Builds the programs in Rust when one is missing or older than a source. */
export async function ensureAgent(progress) {
  const crates = [
    'agent',
    'connections',
    'egress',
    'host-process',
    'launcher',
    'pod-link',
    'resolver',
    'supervisor',
    'trees',
  ].flatMap((crate) => [`${crate}/src`, `${crate}/Cargo.toml`]);
  const sources = [...crates, 'Cargo.toml', 'Cargo.lock', '.cargo'].map((name) => join(root, name));
  const newest = Math.max(...sources.filter(existsSync).map(newestMtimeMs));
  const built = rustPrograms.map((name) => join(root, 'target', 'release', name));
  if (built.every((path) => existsSync(path) && statSync(path).mtimeMs >= newest)) return 'up to date';
  await ensurePackages(buildPackages, progress);
  const cargo = await ensureCargo(progress);
  // Run inside the clone: cargo reads .cargo/config.toml (static linking) from the working directory upwards.
  await capture([cargo, 'build', '--release', '--locked', '--target-dir', 'target'], {
    cwd: root,
    progress,
  });
  return 'built';
}

const pythonRange = 'import sys; sys.exit(not ((3, 10) <= sys.version_info[:2] < (3, 15)))';

/** A Python that can make virtual environments; installs Debian's where there is none. @throws SetupError */
export async function findPython(progress) {
  const works = async (python) => {
    try {
      await capture([python, '-c', pythonRange]);
      await capture([python, '-c', 'import ensurepip, venv']);
      return true;
    } catch {
      return false;
    }
  };
  const candidates = () => [which('python3'), '/usr/bin/python3'].filter((path) => path && existsSync(path));
  for (const python of candidates()) if (await works(python)) return python;
  await installPackages(
    [
      { name: 'python3', purpose: 'the official Python client' },
      { name: 'python3-venv', purpose: 'virtual environments' },
    ],
    progress,
  );
  for (const python of candidates()) if (await works(python)) return python;
  throw new SetupError('No Python 3.10 to 3.14 with the venv module was found.');
}

/** The interpreter of the private virtual environment that holds one version of the official Python client. */
export const pythonWithModal = (version) => join(localDir, 'venv', `modal-${version}`, 'bin', 'python');

/**
 * Makes that virtual environment.
 * @param install installs a package for an interpreter that may have no pip; without it, the environment has one of its own
 */
export async function ensurePythonClient(version, progress, install) {
  const directory = join(localDir, 'venv', `modal-${version}`);
  const stamp = join(directory, 'installed');
  const interpreter = pythonWithModal(version);
  if (existsSync(stamp) && existsSync(interpreter)) return 'up to date';
  const python = await findPython(progress);
  rmSync(directory, { recursive: true, force: true });
  await capture([python, '-m', 'venv', ...(install ? ['--without-pip'] : []), directory], { progress });
  const wanted = `modal==${version}`;
  if (install) await install(interpreter, wanted);
  else await capture([interpreter, '-m', 'pip', ...PIP_INSTALL, wanted], { progress });
  writeFileSync(stamp, '');
  return 'installed';
}

const PIP_INSTALL = ['install', '--disable-pip-version-check'];
const UV = 'uv==0.13.9';

/**
 * Installs with uv, which takes a second where pip takes fifteen; with pip where uv cannot be had, or cannot reach an index that pip can.
 * @param python an interpreter with pip
 * @returns for `ensurePythonClient`
 */
export async function quickInstaller(python, progress) {
  const directory = join(localDir, 'uv');
  const uv = join(directory, 'bin', 'uv');
  const withPip = [python, '-m', 'pip'];
  if (!existsSync(uv)) {
    const target = ['--no-compile', '--target', directory];
    await capture([...withPip, ...PIP_INSTALL, ...target, UV], { progress }).catch(() => {});
  }
  return async (into, wanted) => {
    const install = [uv, '--cache-dir', join(directory, 'cache'), 'pip', 'install'];
    await capture([...install, '--python', into, wanted], { progress }).catch(() =>
      capture([...withPip, '--python', into, ...PIP_INSTALL, wanted], { progress }),
    );
  };
}
