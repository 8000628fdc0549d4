/** The Debian packages Skerry needs, and how they are installed when something they bring is missing. */
import { existsSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { capture, which } from './command.mjs';
import { SetupError } from './step.mjs';

/**
 * One entry per package: what it is for, one thing it brings, and what is to be done before it comes (`prepare`). Presence is tested by that thing and not by asking dpkg: runc
 * may have come with another package, and installing Debian's over it would remove that one.
 */
export const systemPackages = [
  { name: 'runc', command: 'runc', purpose: 'runs sandboxes and image builds' },
  { name: 'nftables', command: 'nft', purpose: "sandboxes' firewall" },
  { name: 'iproute2', command: 'ip', purpose: "sandboxes' network" },
  { name: 'util-linux', command: 'nsenter', purpose: 'namespaces' },
  { name: 'mount', command: 'mount', purpose: 'image layers' },
  { name: 'e2fsprogs', command: 'mke2fs', purpose: "sandboxes' disks" },
  { name: 'attr', command: 'getfattr', purpose: 'image layers' },
  { name: 'tar', command: 'tar', purpose: 'image layers' },
  { name: 'xz-utils', command: 'xz', purpose: 'archives that Dockerfiles add' },
  { name: 'bzip2', command: 'bzip2', purpose: 'archives that Dockerfiles add' },
  { name: 'skopeo', command: 'skopeo', purpose: 'images from registries' },
  { name: 'mmdebstrap', command: 'mmdebstrap', purpose: 'Debian images without a registry' },
  {
    name: 'debian-archive-keyring',
    file: '/usr/share/keyrings/debian-archive-keyring.gpg',
    purpose: 'Debian images without a registry',
  },
  { name: 'ca-certificates', file: '/etc/ssl/certs/ca-certificates.crt', purpose: 'TLS' },
];

/** What building the agent needs besides Rust. */
export const buildPackages = [
  { name: 'gcc', command: 'cc', purpose: 'links the agent' },
  { name: 'libc6-dev', file: '/usr/include/stdlib.h', purpose: 'links the agent' },
];

/** What the tests use besides: without one of these they would be skipped or fail. */
export const testPackages = [
  { name: 'busybox-static', command: 'busybox', purpose: 'the smallest image, for tests of the engine' },
  { name: 'iptables', command: 'iptables', purpose: 'tests beside another firewall' },
  // Set-up leaves it out: few want it, and it brings a set-user-id program (`fusermount`), which is for the machine's owner to decide.
  { name: 's3fs', command: 's3fs', purpose: 'buckets in sandboxes' },
  // Its programs are in a directory of their version; this one comes with servers alone.
  {
    name: 'postgresql',
    command: 'pg_createcluster',
    purpose: 'servers whose records are there',
    prepare: withoutMainCluster,
  },
  {
    name: 'pgbouncer',
    command: 'pgbouncer',
    purpose: 'servers whose records are behind it',
    prepare: () => withoutService('pgbouncer'),
  },
  { name: 'chromium', command: 'chromium', purpose: 'notebooks and pages of sandboxes in a browser' },
];

/** Debian starts a database with the package, for all of the machine. Tests start their own, and nobody else asked for one. */
function withoutMainCluster() {
  const settings = '/etc/postgresql-common/createcluster.conf';
  if (existsSync(settings)) return;
  mkdirSync(dirname(settings), { recursive: true });
  writeFileSync(
    settings,
    '# Written by Skerry before it installed PostgreSQL for its tests.\ncreate_main_cluster = false\n',
  );
}

/** Debian starts a service with its package, for all of the machine. Tests start their own, and nobody else asked for one. */
function withoutService(name) {
  const unit = `/etc/systemd/system/${name}.service`;
  if (lstatSync(unit, { throwIfNoEntry: false }) !== undefined) return;
  mkdirSync(dirname(unit), { recursive: true });
  symlinkSync('/dev/null', unit); // as `systemctl mask` does, which only knows units that are there
}

const present = (item) =>
  item.command === undefined ? existsSync(item.file) : which(item.command) !== undefined;

/**
 * Installs those packages that are missing. Never asks anything.
 * @throws SetupError naming the command to run when it cannot install (no root, not a Debian)
 */
export async function ensurePackages(packages, progress) {
  const missing = packages.filter((item) => !present(item));
  if (missing.length === 0) return 'all there';
  await installPackages(missing, progress);
  const still = missing.filter((item) => !present(item)).map((item) => item.name);
  if (still.length > 0)
    throw new SetupError(`Installed, but what they should bring is not there: ${still.join(', ')}`);
  return `installed ${missing.map((item) => item.name).join(', ')}`;
}

/** Installs packages (`name`, `purpose`) without looking whether they are there. @throws as `ensurePackages` */
export async function installPackages(packages, progress) {
  const names = packages.map((item) => item.name);
  const list = packages.map((item) => `  ${item.name.padEnd(24)} ${item.purpose}`).join('\n');
  if (which('apt-get') === undefined) {
    throw new SetupError(
      `This machine has no apt-get. Install these (named as in Debian) with its own package manager, then run this again:\n${list}`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new SetupError(
      `Missing system packages:\n${list}\nInstall them with: sudo apt-get install -y --no-install-recommends ${names.join(' ')}`,
    );
  }
  await updatePackageLists(progress);
  for (const { prepare } of packages) prepare?.();
  await capture(
    [
      'apt-get',
      'install',
      '-y',
      '--no-install-recommends',
      '--no-remove', // what is there is somebody's: rather fail than take it away
      '-o',
      'Dpkg::Options::=--force-confold',
      ...names,
    ],
    { env: aptEnvironment(), progress },
  );
}

const aptEnvironment = () => ({ ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' });

/** Fetches the lists of packages, so that what is asked next is answered for today. Needs root. */
export const updatePackageLists = (progress) =>
  capture(['apt-get', 'update'], { env: aptEnvironment(), progress });

/** The version that apt would install of a package; undefined when it has none, or there is no apt. */
export async function aptCandidate(name) {
  if (which('apt-cache') === undefined) return undefined;
  const policy = await capture(['apt-cache', 'policy', name], { env: aptEnvironment() });
  const version = /^ {2}Candidate: (\S+)$/m.exec(policy)?.[1];
  return version === '(none)' ? undefined : version;
}
