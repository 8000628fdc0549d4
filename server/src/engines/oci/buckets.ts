/**
 * Buckets as directories of this machine, for one instance. Each has an s3fs of its own in a jail (`trees/src/jail.rs`): it speaks for the instance with a server that
 * somebody named, so it has no rights, no files but what it caches on the instance's disk, and a network of its own that reaches what an open sandbox
 * reaches and nothing else. They run in a control group beside the instance's, without the server.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Lease, SlotUsers } from '../../network/network.ts';
import { run } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import { unmountBelow } from '../../platform/mounts.ts';
import { clip } from '../../platform/text.ts';
import { withDeadline } from '../../platform/wait.ts';
import type { Bucket, BucketKeys, InstanceBucket } from '../bucket.ts';
import type { Cgroups } from './cgroups.ts';
import type { InstanceLayout } from './layout.ts';
import type { PlacedMount } from './mounts.ts';
import { settleAll } from './settle-all.ts';

export interface BucketMountParts {
  readonly places: InstanceLayout;
  readonly cgroups: Cgroups;
  readonly treesBinary: string;
  /** The machine's user that the programs are. */
  readonly user: number;
  /** The machine's certificates with more of the operator's. */
  readonly caBundle: string | undefined;
  /** The network of these programs. */
  readonly lease: Lease;
  /** Those of the instance, if they are its own: only they come into its buckets. */
  readonly users: SlotUsers | undefined;
}

/** The machine's users that such programs are: one for each server, far from any that somebody would give out. */
const FIRST_USER = 0x60000000;
const USERS = 0x10000000;

export const bucketUser = (instance: string): number => FIRST_USER + (Number.parseInt(instance, 16) % USERS);

/** How the program is called, and the Debian package it is in. */
export const BUCKET_PROGRAM = 's3fs';

/** Until the store has answered for the first time. */
const MOUNT_TIMEOUT_MS = 30_000;
/** So long what was being written may take to come to the store once everything in the sandbox was killed. */
const FLUSH_MS = 5_000;
/** For each bucket: s3fs has some 20 MiB and 11 threads, and a part of 10 MiB for each of five transfers. */
const MEMORY_MIB = 256;
const THREADS = 128;
/** Exit code of `trees/`: the program would not, and its words say why. */
const REFUSED = 6;

/** What another one wrote is seen after this, and a second more in the kernel. */
const STAT_CACHE_S = 1;
const CONNECT_TIMEOUT_S = 10;
/** Without a byte. */
const TRANSFER_TIMEOUT_S = 20;
const ATTEMPTS = 2;

/** Shows the buckets in directories of this machine. What is left of a failure `haltBuckets` removes. @throws SkerryError `conflict` naming the bucket that cannot be mounted; the signal's reason */
export async function mountBuckets(
  parts: BucketMountParts,
  buckets: readonly InstanceBucket[],
  signal: AbortSignal,
): Promise<PlacedMount[]> {
  const { cgroups, places } = parts;
  const limits = { memoryMiB: MEMORY_MIB * buckets.length, pids: THREADS * buckets.length };
  const groups = await cgroups.makeLimited(places.bucketsCgroup, limits);
  const program = findProgram(BUCKET_PROGRAM) ?? BUCKET_PROGRAM;
  const { stdout: help } = await run([program, '--help'], { signal });
  const mounts = buckets.map(async (bucket, index) => {
    const command = [program, ...programArguments(bucket.bucket, bucket.keys, bucket.readOnly, help)];
    await mountOne(parts, bucket, String(index), command, groups, signal);
    const source = join(places.bucketsDir, String(index), 'mnt');
    return { source, target: bucket.target, readOnly: bucket.readOnly, scratch: false, direct: true };
  });
  return settleAll(mounts);
}

async function mountOne(
  { places, cgroups, treesBinary, user, users, caBundle, lease }: BucketMountParts,
  { bucket, keys, target, readOnly }: InstanceBucket,
  name: string,
  command: readonly string[],
  groups: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const place = join(places.bucketsDir, name);
  const cache = join(places.bucketsCacheDir, name);
  for (const path of [join(place, 'mnt'), join(place, 'root'), cache]) {
    await mkdir(path, { recursive: true, mode: 0o700 });
  }
  const argv = [
    ...[treesBinary, 'mount-bucket', place, lease.namespacePath, users?.path ?? '', String(user), cache],
    ...[lease.inside.resolver, caBundle ?? '', readOnly ? 'ro' : 'rw', groups.join()],
    ...command,
  ] as [string, ...string[]]; // begins with a string
  const tooLong = AbortSignal.timeout(MOUNT_TIMEOUT_MS);
  const over = AbortSignal.any([signal, tooLong]);
  // Who waits for an answer of a FUSE program cannot be killed: the program can.
  const kill = () => void cgroups.kill(places.bucketsCgroup).catch(() => {}); // and again when the instance goes
  over.addEventListener('abort', kill, { once: true });
  const failed = (why: string, cause?: unknown) =>
    new SkerryError(
      'conflict',
      `The bucket '${clip(bucket.name)}' cannot be mounted at ${clip(target)}: ${why}.`,
      {
        cause,
      },
    );
  try {
    const { code, stderr } = await run(argv, {
      input: environment(keys, caBundle !== undefined),
      timeoutMs: MOUNT_TIMEOUT_MS * 2,
      okCodes: [REFUSED],
    });
    if (code === REFUSED) throw failed(reason(stderr));
  } catch (error) {
    signal.throwIfAborted();
    if (tooLong.aborted) throw failed(`${bucket.endpoint} does not answer`, error);
    throw error;
  } finally {
    over.removeEventListener('abort', kill);
  }
}

/** Kills the programs once `ended`, the end of everything in the instance, or when that takes too long, and removes what they were seen in. Their cache stays. */
export async function haltBuckets(
  cgroups: Cgroups,
  places: InstanceLayout,
  ended: Promise<unknown>,
): Promise<void> {
  await withDeadline(
    ended.catch(() => {}), // its own caller is told
    FLUSH_MS,
  );
  await cgroups.kill(places.bucketsCgroup);
  await cgroups.remove(places.bucketsCgroup);
  await unmountBelow(places.bucketsDir);
  // Never what is in a directory: in a bucket it would be somebody's.
  for (const name of await readdir(places.bucketsDir)) {
    for (const part of ['mnt', 'root']) await rmdir(join(places.bucketsDir, name, part)).catch(ignoreAbsent);
    await rmdir(join(places.bucketsDir, name));
  }
  await rmdir(places.bucketsDir);
}

function ignoreAbsent(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

/** Why no bucket can be mounted on this machine; undefined when it can. */
export function whyNoBuckets(): string | undefined {
  if (!findProgram(BUCKET_PROGRAM)) return `${BUCKET_PROGRAM} not found`;
  return existsSync('/dev/fuse') ? undefined : 'no /dev/fuse';
}

/** s3fs(1), of its version 1.90 and later. @param help what the program prints when it is asked for its options */
export function programArguments(
  bucket: Bucket,
  keys: BucketKeys | undefined,
  readOnly: boolean,
  help: string,
): readonly string[] {
  const { name, endpoint, prefix, region, pathStyle, requesterPays } = bucket;
  const options = [
    `url=${endpoint}`,
    // The mount is made, and `fusermount` is ours, which gives it.
    ...['auto_unmount', 'allow_other'],
    // All files are root's and the directories everybody's to read, whoever put them there and with whatever tool.
    ...['umask=0022', 'mp_umask=0022', 'complement_stat'],
    ...[`stat_cache_expire=${STAT_CACHE_S}`, 'max_stat_cache_size=20000'],
    ...[
      `connect_timeout=${CONNECT_TIMEOUT_S}`,
      `readwrite_timeout=${TRANSFER_TIMEOUT_S}`,
      `retries=${ATTEMPTS}`,
    ],
    ...['tmpdir=/tmp', 'sigv4', 'no_time_stamp_msg'],
    // A prefix is there when a key begins with it, or one will: since 1.91 that is to be asked for.
    ...(/^\s+compat_dir /m.test(help) ? ['compat_dir'] : []),
    ...(region === undefined ? [] : [`endpoint=${region}`]),
    ...(pathStyle ? ['use_path_request_style'] : []),
    ...(requesterPays ? ['requester_pays'] : []),
    ...(keys === undefined ? ['public_bucket=1'] : []),
    ...(keys?.sessionToken === undefined ? [] : ['use_session_token']),
    ...(readOnly ? ['ro'] : []),
  ];
  const objects = prefix === '' ? name : `${name}:/${prefix.replace(/\/$/, '')}`;
  return [objects, '/mnt', '-f', '-o', options.join()];
}

/** Read by `trees/`; the only way by which the keys come to the program. */
function environment(keys: BucketKeys | undefined, ownCertificates: boolean): string {
  const variables = {
    PATH: '/helpers:/usr/bin',
    LANG: 'C.UTF-8',
    ...(ownCertificates && { CURL_CA_BUNDLE: '/etc/certificates.pem' }),
    ...(keys && { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey }),
    ...(keys?.sessionToken !== undefined && { AWS_SESSION_TOKEN: keys.sessionToken }),
  };
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${value}\0`)
    .join('');
}

/** The last thing that s3fs calls critical, without where in its source it says so; else its last line. */
export function reason(words: string): string {
  const lines = words.trim().split('\n');
  const critical = lines
    .map((line) => /\[CRT\] \S+ (.*)$/.exec(line)?.[1])
    .findLast((text) => text !== undefined);
  const text = critical ?? lines.at(-1) ?? '';
  return (
    clip(
      text
        .replace(/^Failed to check bucket.* : /, '')
        .replace(/ ?- result of checking service\.?/, '')
        .replace(/[.\s]+$/, ''),
    ) || 's3fs gave no reason'
  );
}
