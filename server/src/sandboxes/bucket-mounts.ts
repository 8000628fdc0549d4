/** How a sandbox asks for buckets of object stores, and what of a secret opens one. */
import type { Bucket, BucketKeys, InstanceBucket } from '../engines/bucket.ts';
import { checkMountTarget } from '../engines/mount-target.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';
import type { SecretSource } from '../secrets/secrets.ts';

export type { Bucket };

export interface BucketMountSpec {
  /** Its region is what the secret says. */
  readonly bucket: Omit<Bucket, 'region'>;
  /** Absolute, in the sandbox. */
  readonly target: string;
  readonly readOnly: boolean;
  /** What opens it; absent for a public one, and in what is read from the store: there the keys are sealed. */
  readonly secret?: SecretSource;
}

/** Of one sandbox: each is a program of its own. */
const MAX_BUCKETS = 8;
/** What Modal's secrets are called for S3 and R2, and for keys of Google's (HMAC). */
const KEY_NAMES = [
  ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'],
  ['GOOGLE_ACCESS_KEY_ID', 'GOOGLE_ACCESS_KEY_SECRET'],
] as const;
const REGION_NAMES = ['AWS_REGION', 'AWS_DEFAULT_REGION'];

/**
 * @param others where volumes are mounted
 * @param able whether this machine can mount buckets
 * @throws SkerryError `invalid-argument` for what cannot be mounted so, `conflict` when the machine lacks what it takes
 */
export function checkBucketMounts(
  specs: readonly BucketMountSpec[],
  others: readonly { readonly target: string }[],
  able: () => boolean,
): void {
  if (specs.length === 0) return;
  if (specs.length > MAX_BUCKETS)
    throw new SkerryError('invalid-argument', `A sandbox can have at most ${MAX_BUCKETS} buckets.`);
  const targets = new Set(others.map(({ target }) => target));
  for (const { target } of specs) {
    checkMountTarget(target);
    if (targets.has(target))
      throw new SkerryError('invalid-argument', `Two things cannot be mounted at '${clip(target)}'.`);
    targets.add(target);
  }
  if (!able()) {
    throw new SkerryError(
      'conflict',
      'This server cannot mount buckets: it needs s3fs and FUSE. `skerry doctor` on its machine says what is missing.',
    );
  }
}

/** The mounts with what opens them. @throws SkerryError `invalid-argument` for a secret without keys; what `resolve` throws */
export function withKeys(
  specs: readonly BucketMountSpec[],
  resolve: (sources: readonly SecretSource[]) => Readonly<Record<string, string>>,
): InstanceBucket[] {
  return specs.map(({ bucket, target, readOnly, secret }) => {
    const variables = secret ? resolve([secret]) : {};
    const keys = secret && keysOf(variables, target);
    const region = REGION_NAMES.map((name) => variables[name]).find((value) => value);
    if (region !== undefined && !/^[A-Za-z0-9-]{1,64}$/.test(region)) {
      throw new SkerryError(
        'invalid-argument',
        `AWS_REGION of the bucket at '${clip(target)}' is no region.`,
      );
    }
    return { bucket: { ...bucket, region }, keys, target, readOnly };
  });
}

function keysOf(variables: Readonly<Record<string, string>>, target: string): BucketKeys {
  for (const [idName, secretName] of KEY_NAMES) {
    const [accessKeyId, secretAccessKey] = [variables[idName], variables[secretName]];
    if (!accessKeyId || !secretAccessKey) continue;
    const sessionToken = variables.AWS_SESSION_TOKEN || undefined;
    // They are variables of a program, and headers of what it sends.
    if ([accessKeyId, secretAccessKey, sessionToken ?? ''].some((value) => /[^\x21-\x7e]/.test(value))) {
      throw new SkerryError(
        'invalid-argument',
        `The keys of the bucket at '${clip(target)}' have blanks in them.`,
      );
    }
    return { accessKeyId, secretAccessKey, sessionToken };
  }
  throw new SkerryError(
    'invalid-argument',
    `The secret of the bucket at '${clip(target)}' must have AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_ACCESS_KEY_ID and GOOGLE_ACCESS_KEY_SECRET.`,
  );
}
