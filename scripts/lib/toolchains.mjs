/** What is compiled or installed from language registries: Node packages, the agent, gVisor, the official Python client. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { capture, which } from './command.mjs';
import { cacheDir, localDir, root } from './paths.mjs';
import { SetupError } from './step.mjs';
import { buildPackages, ensurePackages, installPackages } from './system-packages.mjs';

/** The gVisor that Skerry is tested with. Its `go` branch carries generated code, so that plain `go install` builds it. */
export const GVISOR_VERSION = 'v0.0.0-20260905035102-160fafc42237';

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

const newestMtimeMs = (path) => {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newestMtimeMs(join(path, name))));
};

const findCargo = () => {
  const byHand = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin', 'cargo');
  return which('cargo') ?? (existsSync(byHand) ? byHand : undefined);
};

/** Builds the agent and the supervisor when one is missing or older than a source. */
export async function ensureAgent(progress) {
  const agent = join(root, 'agent');
  const sources = ['agent/src', 'agent/Cargo.toml', 'agent/Cargo.lock', '.cargo'].map((name) =>
    join(root, name),
  );
  const newest = Math.max(...sources.filter(existsSync).map(newestMtimeMs));
  const built = ['skerry-agent', 'skerry-supervisor'].map((name) => join(agent, 'target', 'release', name));
  if (built.every((path) => existsSync(path) && statSync(path).mtimeMs >= newest)) return 'up to date';
  const cargoPackage = findCargo() ? [] : [{ name: 'cargo', command: 'cargo', purpose: 'builds the agent' }];
  await ensurePackages([...cargoPackage, ...buildPackages], progress);
  const cargo = findCargo();
  if (cargo === undefined) throw new SetupError('cargo was installed but is not found in PATH');
  // Run inside the clone: cargo reads .cargo/config.toml (static linking) from the working directory upwards.
  await capture([cargo, 'build', '--release', '--locked', '--target-dir', 'target'], {
    cwd: agent,
    progress,
  });
  return 'built';
}

/** Where gVisor is: in PATH, or built by this script. */
export const findRunsc = () => {
  const ours = join(cacheDir(), 'bin', 'runsc');
  return which('runsc') ?? (existsSync(ours) ? ours : undefined);
};

/**
 * Builds gVisor from its Go module when a Go toolchain is there. Optional: without it sandboxes run under runc.
 * Returns a note; never throws for a build that fails.
 */
export async function ensureGvisor(progress) {
  const inPath = which('runsc');
  if (inPath) return `found ${inPath}`;
  const bin = join(cacheDir(), 'bin');
  const stamp = join(bin, 'runsc.version');
  if (existsSync(join(bin, 'runsc')) && existsSync(stamp) && readFileSync(stamp, 'utf8') === GVISOR_VERSION) {
    return 'up to date';
  }
  const instead = 'runc will be used, which shares the kernel with the sandboxes';
  const go = which('go') ?? (existsSync('/usr/local/go/bin/go') ? '/usr/local/go/bin/go' : undefined);
  if (go === undefined) return `not available (no runsc, and no Go to build it with): ${instead}`;
  mkdirSync(bin, { recursive: true });
  try {
    await capture([go, 'install', '-v', `gvisor.dev/gvisor/runsc@${GVISOR_VERSION}`], {
      // Linked statically, since runsc executes itself inside a root without libraries.
      env: { ...process.env, CGO_ENABLED: '0', GOBIN: bin, GOFLAGS: '', HOME: process.env.HOME || homedir() },
      progress,
    });
  } catch (error) {
    const words = error.message.split('\n').slice(-3).join(' ');
    return `not available (its build failed: ${words}): ${instead}`;
  }
  writeFileSync(stamp, GVISOR_VERSION);
  return `built ${GVISOR_VERSION}`;
}

const pythonRange = 'import sys; sys.exit(not ((3, 10) <= sys.version_info[:2] < (3, 15)))';

/** A Python that can make virtual environments, for the official client. */
async function findPython(progress) {
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

/** Makes that virtual environment. */
export async function ensurePythonClient(version, progress) {
  const directory = join(localDir, 'venv', `modal-${version}`);
  const stamp = join(directory, 'installed');
  if (existsSync(stamp) && existsSync(pythonWithModal(version))) return 'up to date';
  const python = await findPython(progress);
  rmSync(directory, { recursive: true, force: true });
  await capture([python, '-m', 'venv', directory], { progress });
  await capture(
    [pythonWithModal(version), '-m', 'pip', 'install', '--disable-pip-version-check', `modal==${version}`],
    { progress },
  );
  writeFileSync(stamp, '');
  return 'installed';
}
