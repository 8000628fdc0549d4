/** Buckets of a sandbox, as the clients ask for them (`CloudBucketMount`). Facts: docs/protocol/volumes-blobs-secrets.md, section 1. */
import { isIPv4 } from 'node:net';
import type { BucketMountSpec } from '../../../sandboxes/bucket-mounts.ts';
import type { SecretSource } from '../../../secrets/secrets.ts';
import type { StringMap } from '../gen/modal/common_pb.ts';
import { CloudBucketMount_BucketType as BucketType, type CloudBucketMount } from '../gen/modal/common_pb.ts';
import { environment, invalid, MAX_PATH_BYTES, secretId, text, unsupported } from './fields.ts';

/** Of Amazon, who needs none. */
const AMAZON = 'https://s3.amazonaws.com';
const MAX_KEY_BYTES = 1024;

/** @param credentials of secrets that have no id, by path. @throws SkerryError `invalid-argument`, `unimplemented`, naming the field */
export function bucketMounts(
  mounts: readonly CloudBucketMount[],
  credentials: Readonly<Record<string, StringMap>>,
): readonly BucketMountSpec[] {
  const paths = new Set(mounts.map(({ mountPath }) => mountPath));
  const stray = Object.keys(credentials).find((path) => !paths.has(path));
  if (stray !== undefined) throw invalid('cloud_bucket_mount_credentials: no bucket is mounted there.');
  return mounts.map((mount) => {
    if (mount.oidcAuthRoleArn) {
      throw unsupported('oidc_auth_role_arn of buckets: give a secret with keys instead.');
    }
    const secret = secretOf(mount, credentials[mount.mountPath]);
    if (mount.requesterPays && !secret) throw invalid('requester_pays of a bucket needs a secret.');
    const name = bucketName(mount.bucketName);
    const endpoint = endpointOf(mount);
    return {
      bucket: {
        name,
        endpoint: endpoint.origin,
        prefix: keyPrefix(mount.keyPrefix ?? ''),
        // A name with dots has no certificate below the endpoint's, an address no names at all.
        pathStyle: mount.forcePathStyle || isIPv4(endpoint.hostname) || name.includes('.'),
        requesterPays: mount.requesterPays,
      },
      target: text(mount.mountPath, 'cloud_bucket_mounts.mount_path', MAX_PATH_BYTES),
      readOnly: mount.readOnly,
      ...(secret && { secret }),
    };
  });
}

function secretOf(
  { credentialsSecretId }: CloudBucketMount,
  inline: StringMap | undefined,
): SecretSource | undefined {
  if (inline) return { kind: 'inline', env: environment(inline.contents, 'cloud_bucket_mount_credentials') };
  return credentialsSecretId ? { kind: 'stored', id: secretId(credentialsSecretId) } : undefined;
}

/** S3's rules for names, as far as all stores have them. */
function bucketName(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]$/.test(name) || name.includes('..')) {
    throw invalid(
      `cloud_bucket_mounts.bucket_name: ${JSON.stringify(name.slice(0, 64))} is no name of a bucket.`,
    );
  }
  return name;
}

function endpointOf({ bucketEndpointUrl, bucketType }: CloudBucketMount): URL {
  if (!bucketEndpointUrl) {
    if (bucketType === BucketType.R2 || bucketType === BucketType.GCP) {
      throw invalid('cloud_bucket_mounts.bucket_endpoint_url is missing.');
    }
    return new URL(AMAZON);
  }
  const url = URL.canParse(bucketEndpointUrl) ? new URL(bucketEndpointUrl) : undefined;
  const plain =
    url &&
    /^https?:$/.test(url.protocol) &&
    /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(url.hostname) &&
    [url.username, url.password, url.search, url.hash].every((part) => part === '') &&
    url.pathname === '/';
  if (!plain) {
    throw invalid(
      `cloud_bucket_mounts.bucket_endpoint_url: ${JSON.stringify(bucketEndpointUrl.slice(0, 200))} must be http:// or https:// with a host that has an IPv4 address, and a port at most.`,
    );
  }
  return url;
}

/** Clients see to the slash at its end. */
function keyPrefix(prefix: string): string {
  if (prefix === '') return '';
  const names = prefix.slice(0, -1).split('/');
  const clean =
    prefix.endsWith('/') &&
    Buffer.byteLength(prefix) <= MAX_KEY_BYTES &&
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
    !/[\0-\x1f\x7f]/.test(prefix) &&
    names.every((name) => !['', '.', '..'].includes(name));
  if (!clean) {
    throw invalid(
      'cloud_bucket_mounts.key_prefix must be names of directories, each with a slash behind it, and no slash before the first.',
    );
  }
  return prefix;
}
