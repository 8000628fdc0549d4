import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { SkerryError } from '../../../errors/skerry-error.ts';
import { CloudBucketMount_BucketType as BucketType, CloudBucketMountSchema } from '../gen/modal/common_pb.ts';
import { bucketMounts } from './bucket-mounts.ts';

type Fields = MessageInitShape<typeof CloudBucketMountSchema>;

const parse = (fields: Fields) =>
  bucketMounts([create(CloudBucketMountSchema, { bucketName: 'data', mountPath: '/mnt', ...fields })], {})[0];
const code = (fields: Fields) => {
  try {
    parse(fields);
  } catch (error) {
    return (error as SkerryError).code; // all that is thrown here is one
  }
  return undefined;
};

test('a bucket of Amazon needs a name only; others have an endpoint', () => {
  assert.deepEqual(parse({}), {
    bucket: {
      name: 'data',
      endpoint: 'https://s3.amazonaws.com',
      prefix: '',
      pathStyle: false,
      requesterPays: false,
    },
    target: '/mnt',
    readOnly: false,
  });
  const other = parse({
    bucketEndpointUrl: 'https://ID.r2.cloudflarestorage.com/',
    bucketType: BucketType.R2,
    keyPrefix: 'a/b c/',
    credentialsSecretId: 'st-1',
    requesterPays: true,
    readOnly: true,
  });
  assert.deepEqual(other?.bucket, {
    name: 'data',
    endpoint: 'https://id.r2.cloudflarestorage.com',
    prefix: 'a/b c/',
    pathStyle: false,
    requesterPays: true,
  });
  assert.deepEqual([other?.secret, other?.readOnly], [{ kind: 'stored', id: 'st-1' }, true]);
});

test('what has no names below it, or no certificate for them, is addressed by path', () => {
  assert.equal(parse({ bucketEndpointUrl: 'http://10.0.0.1:9000' })?.bucket.pathStyle, true);
  assert.equal(parse({ bucketName: 'my.bucket' })?.bucket.pathStyle, true);
  assert.equal(parse({ forcePathStyle: true })?.bucket.pathStyle, true);
});

test('keys that travel with the request are those of their path', () => {
  const mount = create(CloudBucketMountSchema, { bucketName: 'data', mountPath: '/mnt' });
  const contents = { AWS_ACCESS_KEY_ID: 'a' };
  const credentials = { '/mnt': { $typeName: 'modal.client.StringMap' as const, contents } };
  assert.deepEqual(bucketMounts([mount], credentials)[0]?.secret, { kind: 'inline', env: contents });
  assert.throws(() => bucketMounts([], credentials), { code: 'invalid-argument' });
});

test('nothing becomes an option, a path or a place of its own', () => {
  for (const bucketName of ['', '-o', 'a', 'a,nosuid', 'a/b', 'a:b', 'a..b', 'a b', 'a\nb', 'ü'.repeat(3)])
    assert.equal(code({ bucketName }), 'invalid-argument', bucketName);
  for (const bucketEndpointUrl of [
    'file:///etc',
    'ftp://host',
    'host',
    'http://',
    'http://user:password@host',
    'http://host/path',
    'http://host?x',
    'http://host#x',
    'http://[::1]:80',
    'http://a,use_cache=/',
    'http://a b',
  ])
    assert.equal(code({ bucketEndpointUrl }), 'invalid-argument', bucketEndpointUrl);
  for (const keyPrefix of ['/', '/a/', 'a', 'a//', '../', 'a/./', 'a/../b/', 'a\n/', `${'a'.repeat(1024)}/`])
    assert.equal(code({ keyPrefix }), 'invalid-argument', keyPrefix);
  assert.equal(code({ bucketType: BucketType.GCP }), 'invalid-argument');
  assert.equal(code({ requesterPays: true }), 'invalid-argument');
  assert.equal(code({ credentialsSecretId: '../x' }), 'invalid-argument');
  assert.equal(code({ oidcAuthRoleArn: 'arn:aws:iam::1:role/x' }), 'unimplemented');
});
