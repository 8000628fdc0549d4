/**
 * Makes a base from Debian's packages with mmdebstrap. Everything that reaches it comes from `debian-suites.ts` and the configuration, since the packages'
 * scripts run as root on the host.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type CommandOptions, run } from '../../platform/command.ts';
import { inOwnMountNamespace } from '../../platform/mounts.ts';
import { emptyImageConfig, type ImageConfig } from '../image.ts';
import type { DebianBase, Suite } from './debian-suites.ts';

/** A slow mirror delivers the 60 MB of packages in this time. */
const BOOTSTRAP_TIMEOUT_MS = 30 * 60_000;
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Part of mmdebstrap. */
const MERGED_USR_HOOKS = '/usr/share/mmdebstrap/hooks/merged-usr';
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface BootstrapOptions {
  readonly mirror: string;
  readonly signal: AbortSignal;
  /** Progress, for the build log. */
  readonly onOutput: NonNullable<CommandOptions['onOutput']>;
  readonly say: (line: string) => void;
  /** Directory for temporary files. */
  readonly temporary: string;
  /** How long the mirror may take to answer. */
  readonly timeoutMs: number;
}

/**
 * Writes the base's files to `directory`, which must not exist.
 * @throws SkerryError `image-build-failed` when the mirror cannot be reached or lacks the suite, `disk-full`, `internal`
 */
export async function bootstrapDebian(
  base: DebianBase,
  directory: string,
  options: BootstrapOptions,
): Promise<ImageConfig> {
  const { suite } = base;
  const sources = await aptSources(suite, options);
  const argv: [string, ...string[]] = [
    'mmdebstrap',
    '--mode=root',
    '--format=directory',
    '--variant=minbase',
    `--keyring=${KEYRING}`,
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=Acquire::Retries "2"',
    '--aptopt=APT::Install-Recommends "false"',
    // Without it every file is synced to disk; a bootstrap that fails half-way is thrown away anyhow.
    '--dpkgopt=force-unsafe-io',
    // Makes /bin a link to /usr/bin from the start, so that no package has to move it.
    ...(suite.baseExtra.includes('usr-is-merged') ? [`--hook-dir=${MERGED_USR_HOOKS}`] : []),
    `--include=${['ca-certificates', ...base.packages, ...suite.baseExtra].join(',')}`,
    ...(base.withPython ? [`--customize-hook=${pythonHeaders(suite)}`] : []),
    suite.name,
    directory,
    ...sources.map(({ uri, name }) => `deb ${uri} ${name} main`),
  ];
  try {
    await run(inOwnMountNamespace(argv), {
      timeoutMs: BOOTSTRAP_TIMEOUT_MS,
      signal: options.signal,
      onOutput: options.onOutput,
      env: { PATH: DEFAULT_PATH, HOME: '/root', LANG: 'C.UTF-8', TMPDIR: options.temporary },
    });
  } catch (error) {
    throw bootstrapError(error, suite, options.mirror);
  }
  await tidy(directory);
  await writeAptSettings(directory, suite, sources);
  if (!base.withPython) return { ...emptyImageConfig, env: { PATH: DEFAULT_PATH }, cmd: ['bash'] };
  const version = await setUpPython(directory, suite, options);
  return {
    ...emptyImageConfig,
    env: { PATH: DEFAULT_PATH, LANG: 'C.UTF-8', PYTHON_VERSION: version },
    cmd: ['python3'],
  };
}

interface AptSource {
  readonly uri: string;
  readonly name: string;
}

/** The mirror's suite, its updates, and the security suite of the archive beside the mirror when it answers. */
async function aptSources(suite: Suite, options: BootstrapOptions): Promise<readonly AptSource[]> {
  const mirror = options.mirror.replace(/\/+$/, '');
  const sources = [
    { uri: mirror, name: suite.name },
    { uri: mirror, name: `${suite.name}-updates` },
    { uri: mirror.replace(/\/debian$/, '/debian-security'), name: `${suite.name}-security` },
  ];
  const answers = await Promise.all(
    sources.map((source) => answersHttp(`${source.uri}/dists/${source.name}/InRelease`, options)),
  );
  const [reachable] = answers;
  if (!reachable) {
    throw new SkerryError(
      'image-build-failed',
      `the Debian mirror ${mirror} cannot be reached or does not have ${suite.name}; set another with --debian-mirror`,
    );
  }
  const missing = sources.filter((_, index) => !answers[index]).map(({ name }) => name);
  if (missing.length > 0)
    options.say(`The mirror does not have ${missing.join(' and ')}; the base is made without.`);
  return sources.filter((_, index) => answers[index]);
}

async function answersHttp(url: string, { signal, timeoutMs }: BootstrapOptions): Promise<boolean> {
  try {
    const response = await fetch(url, {
      method: 'HEAD',
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
    return response.ok;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}

function bootstrapError(error: unknown, suite: Suite, mirror: string): unknown {
  if (!(error instanceof SkerryError)) return error;
  const words = `${error.message}\n${String(error.details.stderr ?? '')}`;
  if (/No space left on device/.test(words))
    return new SkerryError('disk-full', 'the machine is out of disk space', { cause: error });
  if (/is not installed|failed to execute mmdebstrap/.test(error.message)) {
    return new SkerryError(
      'image-build-failed',
      'mmdebstrap is not installed, and no registry has the image: install mmdebstrap or configure --registry-mirrors',
      { cause: error },
    );
  }
  if (/NO_PUBKEY|EXPKEYSIG|not signed/.test(words)) {
    return new SkerryError(
      'image-build-failed',
      `the machine's ${KEYRING} cannot verify Debian ${suite.name}: update the package debian-archive-keyring`,
      { cause: error },
    );
  }
  const why = words
    .split('\n')
    .filter((line) => /^(E|W|Err):/.test(line))
    .slice(-4)
    .join(' ');
  return new SkerryError(
    'image-build-failed',
    `the bootstrap of Debian ${suite.name} from ${mirror} failed: ${why || error.message}`,
    { cause: error },
  );
}

/** Removes documentation, apt's lists and what mmdebstrap took over from this machine. Keeps the empty manual directories: some packages fail without. */
async function tidy(directory: string): Promise<void> {
  const inside = (path: string) => join(directory, path);
  const manuals = inside('usr/share/man');
  for (const name of await readdir(manuals)) {
    await rm(join(manuals, name), { recursive: true });
    if (/^man[1-9]$/.test(name)) await mkdir(join(manuals, name));
  }
  for (const entry of await readdir(inside('usr/share/doc'), { withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isDirectory()) await rm(path);
    else
      for (const name of await readdir(path))
        if (name !== 'copyright') await rm(join(path, name), { recursive: true });
  }
  const locales = inside('usr/share/locale');
  for (const name of await readdir(locales))
    if (name !== 'locale.alias') await rm(join(locales, name), { recursive: true });
  for (const path of [
    'etc/resolv.conf',
    'etc/hostname',
    'etc/apt/apt.conf.d/99mmdebstrap',
    'etc/dpkg/dpkg.cfg.d/99mmdebstrap',
    'etc/apt/sources.list',
  ]) {
    await rm(inside(path), { force: true });
  }
  for (const name of await readdir(inside('dev')))
    await rm(inside(`dev/${name}`), { recursive: true, force: true });
  for (const name of await readdir(inside('var/log')))
    await rm(inside(`var/log/${name}`), { recursive: true, force: true });
}

/** The settings of Docker's Debian images (github.com/debuerreotype/debuerreotype), so that Dockerfiles written for these behave the same. */
async function writeAptSettings(
  directory: string,
  suite: Suite,
  sources: readonly AptSource[],
): Promise<void> {
  const keyring = ['debian-archive-keyring.gpg', 'debian-archive-keyring.pgp']
    .map((name) => `/usr/share/keyrings/${name}`)
    .find((path) => existsSync(join(directory, path)));
  const signed = keyring === undefined ? '' : `Signed-By: ${keyring}\n`;
  const files: Record<string, string> = {
    'etc/apt/apt.conf.d/docker-clean':
      'APT::Keep-Downloaded-Packages "false";\nDir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n',
    'etc/apt/apt.conf.d/docker-no-languages': 'Acquire::Languages "none";\n',
    'etc/apt/apt.conf.d/docker-autoremove-suggests': 'Apt::AutoRemove::SuggestsImportant "false";\n',
    'etc/dpkg/dpkg.cfg.d/docker-apt-speedup': 'force-unsafe-io\n',
    'etc/dpkg/dpkg.cfg.d/docker':
      'path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\npath-include /usr/share/locale/locale.alias\n',
    ...(suite.sourcesFormat === 'deb822'
      ? {
          'etc/apt/sources.list.d/debian.sources': sources
            .map(({ uri, name }) => `Types: deb\nURIs: ${uri}\nSuites: ${name}\nComponents: main\n${signed}`)
            .join('\n'),
        }
      : { 'etc/apt/sources.list': sources.map(({ uri, name }) => `deb ${uri} ${name} main\n`).join('') }),
  };
  for (const [path, content] of Object.entries(files)) await writeFile(join(directory, path), content);
  // Services of packages must not start while an image is built.
  await writeFile(join(directory, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
}

/** A shell command, as mmdebstrap's hooks are, of constants only: Python's own headers without the C library that their package depends on. */
function pythonHeaders({ python }: Suite): string {
  const inside = `cd /tmp && apt-get download -qq libpython${python}-dev && dpkg-deb -x libpython${python}-dev_*.deb headers && cp -a headers/usr/include/. /usr/include/ && rm -rf headers libpython${python}-dev_*.deb`;
  return `chroot "$1" sh -c '${inside}'`;
}

/** Gives Debian's Python what the official image has: pip that installs for all, and the interpreter under /usr/local/bin. @returns X.Y.Z */
async function setUpPython(directory: string, { python }: Suite, options: BootstrapOptions): Promise<string> {
  const inside = (path: string) => join(directory, path);
  const interpreter = `/usr/bin/python${python}`;
  // PEP 668: the marker makes pip refuse; the exclusion keeps it away when the package is updated.
  await rm(inside(`usr/lib/python${python}/EXTERNALLY-MANAGED`), { force: true });
  await writeFile(
    inside('etc/dpkg/dpkg.cfg.d/skerry-python'),
    'path-exclude /usr/lib/python3*/EXTERNALLY-MANAGED\n',
  );
  const wheels = await readdir(inside('usr/share/python-wheels'));
  const pip = wheels.find((name) => name.startsWith('pip-'));
  if (pip === undefined) throw new SkerryError('internal', 'python3-venv brought no wheel of pip');
  const names = wheels
    .filter((name) => /^(pip|setuptools)-/.test(name))
    .map((name) => name.split('-')[0] ?? '');
  const command = {
    timeoutMs: options.timeoutMs + 120_000,
    signal: options.signal,
    // As a variable, since the pip of Debian 11 does not know the option and would refuse it.
    env: { PATH: DEFAULT_PATH, HOME: '/root', LANG: 'C.UTF-8', PIP_ROOT_USER_ACTION: 'ignore' },
  };
  const chrooted = ['chroot', directory, interpreter] as const;
  await run(
    [
      ...chrooted,
      `/usr/share/python-wheels/${pip}/pip`,
      'install',
      '--quiet',
      '--no-index',
      '--find-links=/usr/share/python-wheels',
      '--no-cache-dir',
      ...names,
    ],
    command,
  );
  const local = inside('usr/local/bin');
  for (const name of ['python', 'python3', `python${python}`]) await symlink(interpreter, join(local, name));
  for (const name of ['pip', 'pip3']) {
    if (!existsSync(join(local, name)) && !(await readlink(join(local, name)).catch(() => undefined))) {
      await symlink(`pip${python}`, join(local, name));
    }
  }
  const { stdout } = await run(
    [...chrooted, '-c', 'import platform; print(platform.python_version())'],
    command,
  );
  return stdout.trim();
}
