/** What all sandboxes of a server share, made once at start: the skeleton layer, the agent's directory, the CA bundle. */
import { chmod, copyFile, link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { mountsBelow, unmount } from '../../platform/mounts.ts';
import { replaceFile } from '../../platform/replace-file.ts';
import {
  GUEST_AGENT,
  GUEST_BIN_DIR,
  GUEST_CA_BUNDLE,
  GUEST_FS_TOOLS,
  GUEST_MOUNTS_DIR,
  GUEST_RUN_DIR,
} from '../paths.ts';
import { type Layout, MAX_TREE_MOUNTS } from './layout.ts';

const HOST_CA_BUNDLES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'];

/** Mount points that every root filesystem must have; the lowest layer, so that even an empty image has them and no snapshot does. */
export async function prepareSkeleton(layout: Layout): Promise<void> {
  const at = (path: string) => join(layout.skeletonDir, path);
  for (const directory of [
    GUEST_BIN_DIR,
    GUEST_RUN_DIR,
    GUEST_MOUNTS_DIR,
    dirname(GUEST_CA_BUNDLE),
    '/proc',
    '/sys',
    '/dev',
    '/etc',
  ]) {
    await mkdir(at(directory), { recursive: true, mode: 0o755 });
  }
  await mkdir(at('/tmp'), { recursive: true });
  await chmod(at('/tmp'), 0o1777);
  // Usual in /tmp, and it keeps the directory from being empty: over an empty one gVisor mounts a tmpfs, whose files no snapshot would hold.
  await mkdir(at('/tmp/.X11-unix'), { recursive: true });
  await chmod(at('/tmp/.X11-unix'), 0o1777);
  await chmod(layout.skeletonDir, 0o755);
  for (const file of ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf', GUEST_CA_BUNDLE]) {
    await writeFile(at(file), '', { mode: 0o644 });
  }
}

/**
 * The mount points that gVisor sandboxes share, in a file system of their own that nothing can be written to. Those that run keep what they were given, so one that is
 * there already stays.
 */
export async function prepareMountPoints(layout: Layout): Promise<void> {
  const directory = layout.mountPointsDir;
  if ((await mountsBelow(layout.runDir)).includes(directory)) return;
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await run(['mount', '-n', '-t', 'tmpfs', '-o', 'mode=755,size=64k,nr_inodes=1k', 'tmpfs', directory]);
  try {
    for (let slot = 0; slot < MAX_TREE_MOUNTS; slot++)
      await mkdir(join(directory, String(slot)), { mode: 0o755 });
    await run(['mount', '-n', '-o', 'remount,ro', directory]);
  } catch (error) {
    await unmount([directory]);
    throw error;
  }
}

/**
 * Puts the agent where sandboxes find it, under each of its names. The file is replaced whole: a running agent keeps the one it was started from.
 * @throws SkerryError `unavailable` when it was not built, or in a way that it runs in no image but the machine's own.
 */
export async function prepareAgent(layout: Pick<Layout, 'binDir'>, agentBinaryPath: string): Promise<void> {
  await mkdir(layout.binDir, { recursive: true, mode: 0o755 });
  const names = [GUEST_AGENT, GUEST_FS_TOOLS].map((path) => join(layout.binDir, basename(path)));
  // Nearly always it is there: then a start needs no room on the disk.
  const same = await Promise.all(names.map((name) => haveSameBytes(name, agentBinaryPath)));
  if (same.every(Boolean)) return;
  const fresh = join(layout.binDir, `.agent-${process.pid}`);
  try {
    await copyFile(agentBinaryPath, fresh);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') {
      await rm(fresh, { force: true });
      throw new SkerryError('disk-full', `There is no room for the agent in ${layout.binDir}.`, {
        cause: error,
      });
    }
    throw new SkerryError(
      'unavailable',
      `The agent is missing at ${agentBinaryPath}: run \`npm run setup\`.`,
      {
        cause: error,
      },
    );
  }
  if (!(await isStaticProgram(fresh))) {
    await rm(fresh, { force: true });
    throw new SkerryError(
      'unavailable',
      `The agent at ${agentBinaryPath} is not a static program: build it from within the clone, whose cargo settings see to that, or run \`npm run setup\`.`,
    );
  }
  await chmod(fresh, 0o755);
  for (const name of names) {
    const temporary = `${name}.new`;
    await rm(temporary, { force: true });
    await link(fresh, temporary);
    await rename(temporary, name);
  }
  await rm(fresh, { force: true });
}

/** Whether both are files with the same content. */
async function haveSameBytes(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => readFile(path).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.equals(b);
}

/** Type of the program header that names a dynamic linker, elf(5). */
const PT_INTERP = 3;

/** Whether a file is a 64-bit little-endian ELF program that needs no dynamic linker, elf(5). */
export async function isStaticProgram(path: string): Promise<boolean> {
  const image = await readFile(path);
  if (image.length < 64 || image.readUInt32BE(0) !== 0x7f454c46 || image[4] !== 2 || image[5] !== 1)
    return false;
  const [offset, size, count] = [
    Number(image.readBigUInt64LE(32)),
    image.readUInt16LE(54),
    image.readUInt16LE(56),
  ];
  if (offset + size * count > image.length) return false;
  return Array.from({ length: count }, (_, i) => image.readUInt32LE(offset + i * size)).every(
    (type) => type !== PT_INTERP,
  );
}

/**
 * The certificates that this machine trusts (where it has no bundle, those that Node.js does) and the extra ones, each once, PEM: that keeps start-up of TLS libraries short. The extra file may itself be the host's bundle.
 * @throws SkerryError `invalid-argument` when the extra file cannot be read or holds no certificate
 */
export async function trustedCertificates(extraCaFile: string): Promise<readonly string[]> {
  let extra = '';
  if (extraCaFile !== '') {
    extra = await readFile(extraCaFile, 'utf8').catch((error: Error) => {
      throw new SkerryError('invalid-argument', `The extra CA file cannot be read: ${error.message}`);
    });
    if (!extra.includes('-----BEGIN CERTIFICATE-----')) {
      throw new SkerryError('invalid-argument', `The extra CA file ${extraCaFile} holds no PEM certificate.`);
    }
  }
  let host = '';
  for (const path of HOST_CA_BUNDLES) host ||= await readFile(path, 'utf8').catch(() => '');
  host ||= rootCertificates.join('\n');
  const certificates =
    `${host}\n${extra}`.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return [...new Set(certificates)];
}

/** Writes the machine's CA bundle with the extra certificates added and returns its path; undefined when none are configured. @throws as `trustedCertificates` */
export async function prepareCaBundle(layout: Layout, extraCaFile: string): Promise<string | undefined> {
  if (extraCaFile === '') return undefined;
  return writeBundle(join(layout.caDir, basename(GUEST_CA_BUNDLE)), await trustedCertificates(extraCaFile));
}

/** The bundle of sandboxes with secret headers, whose authority is trusted as well. */
export function prepareHeaderBundle(
  layout: Layout,
  trusted: readonly string[],
  authority: string,
): Promise<string> {
  return writeBundle(join(layout.caDir, `headers-${basename(GUEST_CA_BUNDLE)}`), [
    ...trusted,
    authority.trim(),
  ]);
}

async function writeBundle(path: string, certificates: readonly string[]): Promise<string> {
  const bundle = `${certificates.join('\n')}\n`;
  if ((await readFile(path, 'utf8').catch(() => undefined)) === bundle) return path;
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await replaceFile(path, bundle, { mode: 0o644 });
  return path;
}
