/** gVisor: found on the machine, installed from its packages, or built. */
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { capture, which } from './command.mjs';
import { ensureGo } from './go.mjs';
import { cacheDir, root } from './paths.mjs';
import { aptCandidate, installPackages } from './system-packages.mjs';

/**
 * The one place that names gVisor's version, for these scripts and for the server: the module (its `go` branch carries generated
 * code, so that plain Go builds it), the version that is built, the day of the oldest release that the server was tested
 * with, and the oldest Go that builds it.
 */
export const pinned = JSON.parse(readFileSync(join(root, 'server', 'gvisor.json'), 'utf8'));

const built = () => join(cacheDir(), 'bin', 'runsc');

/** Built with the other programs in Rust (`launcher/src/bin/`). */
const PREWARMER = 'gvisor-sentry-prewarmer';

/**
 * The day (`20241202`) of a gVisor, from what `runsc --version` prints, a module's version, or a Debian package's. Undefined when
 * it tells none: a binary made by `go install` calls itself VERSION_MISSING.
 */
export const releaseDay = (text) => /(?:release-|~|v0\.0\.0-)(20\d{6})/.exec(text)?.[1];

const isTooOld = (text) => (releaseDay(text) ?? pinned.oldest) < pinned.oldest;

/** The `runsc` in PATH, and whether it is older than what the server works with; one that does not tell its age is trusted. */
async function runscInPath() {
  const path = which('runsc');
  if (path === undefined) return undefined;
  const version = await capture([path, '--version']).catch(() => 'no answer');
  return { path, version: version.split('\n')[0], tooOld: isTooOld(version) };
}

/** Where gVisor is, as the server looks for it: in PATH if that one is new enough, or built by this script. */
export async function findRunsc() {
  const found = await runscInPath();
  if (found && !found.tooOld) return found.path;
  return existsSync(built()) ? built() : found?.path;
}

/**
 * Sees to it that there is a gVisor. Never throws: without it sandboxes run under runc, and the caller says so.
 * Returns a note, with `missing: true` when there is none.
 */
export async function ensureGvisor(progress) {
  const found = await runscInPath();
  if (found && !found.tooOld) return { note: `found ${found.path}` };
  if (isBuilt()) return { note: 'up to date' };
  const old = found && `${found.path} is too old: ${found.version}`;
  try {
    // Debian 12 and 13 have `runsc`, of 2022 and 2024: too old at the time of writing. A later Debian may have one that is not.
    const candidate = await aptCandidate('runsc');
    if (!found && candidate && releaseDay(candidate) && !isTooOld(candidate) && process.getuid?.() === 0) {
      await installPackages([{ name: 'runsc', purpose: 'gVisor' }], progress);
      return { note: `installed Debian's runsc ${candidate}` };
    }
    const note = await build(progress);
    return { note: old ? `${note} (${old})` : note };
  } catch (error) {
    // Of a program that failed its last words; its command line would bury them.
    const [first, , ...said] = error.message.trim().split('\n');
    const why = said.length > 0 ? said.slice(-3).join(' ') : first;
    if (old) return { note: `${old}; it is used untested, since no newer one could be built: ${why}` };
    return { note: why, missing: true };
  }
}

/** Names the version that was built; the server shows it. */
const stamp = () => `${built()}.version`;

/** What runsc starts in place of itself, and the directory beside it where it looks for that. */
const COMPANIONS = ['gvisor_sentry', PREWARMER];
const COMPANIONS_DIR = 'gvisor-bin';

/** Those files beside `runsc` without which it is not what this script builds, by their paths from there. */
export const besideRunsc = ['runsc.version', ...COMPANIONS.map((name) => join(COMPANIONS_DIR, name))];

const isBuilt = () =>
  [built(), ...besideRunsc.map((name) => join(cacheDir(), 'bin', name))].every(existsSync) &&
  readFileSync(stamp(), 'utf8') === pinned.version;

async function build(progress) {
  const bin = join(cacheDir(), 'bin');
  mkdirSync(join(bin, COMPANIONS_DIR), { recursive: true });
  const work = mkdtempSync(join(bin, 'build-'));
  try {
    const { go, env, caches = [] } = await ensureGo(pinned.go, progress);
    const goEnv = {
      ...env,
      CGO_ENABLED: '0', // linked statically, since runsc executes itself inside a root without libraries
      GOFLAGS: caches.length > 0 ? env.GOFLAGS : '', // those of the shell are for other programs
    };
    const sources = await gvisorSources({ go, env: goEnv, directory: join(work, 'src'), progress });
    const runsc = join(work, 'runsc');
    await capture([go, 'build', '-v', '-trimpath', '-ldflags=-s -w', '-o', runsc, './runsc'], {
      cwd: sources,
      env: goEnv,
      progress,
    });
    // It has the prewarmer exec what it calls the sentry, which is a program of its own elsewhere; here runsc is both.
    linkSync(runsc, join(work, 'gvisor_sentry'));
    copyFileSync(join(root, 'target', 'release', PREWARMER), join(work, PREWARMER));
    // Renamed over the old ones: sandboxes that run keep the files they were started from.
    for (const name of COMPANIONS) renameSync(join(work, name), join(bin, COMPANIONS_DIR, name));
    renameSync(runsc, built());
    writeFileSync(stamp(), pinned.version);
    for (const cache of caches) rmSync(cache, { recursive: true, force: true });
    return `built ${pinned.version} with ${go}`;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * A copy of the module in the directory, with the filters of system calls compiled that others build into it by Bazel: without them each start of a sandbox
 * compiles two, which takes some 30 ms of a processor (docs/decisions/0065).
 */
async function gvisorSources({ go, env, directory, progress }) {
  const { Dir: module } = JSON.parse(
    await capture([go, 'mod', 'download', '-json', `${pinned.module}@${pinned.version}`], { env, progress }),
  );
  await capture(['cp', '-R', '--no-preserve=mode,ownership', module, directory]);
  const ours = join(root, 'scripts', 'gvisor');
  copyFileSync(join(ours, 'programs.go'), join(directory, 'runsc/boot/filter/config/skerry_programs.go'));
  const writer = join(directory, 'write-filters');
  mkdirSync(writer);
  copyFileSync(join(ours, 'write-filters.go'), join(writer, 'main.go'));
  await capture([go, 'run', '-trimpath', './write-filters'], { cwd: directory, env, progress });
  return directory;
}
