import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BucketMountSpec, checkBucketMounts, withKeys } from './bucket-mounts.ts';

const bucket = {
  name: 'data',
  endpoint: 'https://host',
  prefix: '',
  pathStyle: false,
  requesterPays: false,
};
const spec = (target: string, env?: Record<string, string>): BucketMountSpec => ({
  bucket,
  target,
  readOnly: false,
  ...(env && { secret: { kind: 'inline', env } }),
});
const resolve: Parameters<typeof withKeys>[1] = ([source]) => (source?.kind === 'inline' ? source.env : {});
const aws = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'key' };

test('a place is taken once, by a volume or a bucket, and is none of the sandbox itself', () => {
  const able = () => true;
  checkBucketMounts([spec('/a'), spec('/a/b')], [{ target: '/c' }], able);
  for (const targets of [
    ['/a', '/a'],
    ['/c'],
    ['/proc/x'],
    ['relative'],
    Array.from('123456789', (n) => `/${n}`),
  ]) {
    const specs = targets.map((target) => spec(target));
    assert.throws(() => checkBucketMounts(specs, [{ target: '/c' }], able), { code: 'invalid-argument' });
  }
});

test('a machine without the program refuses buckets, and nothing else', () => {
  const unable = () => false;
  checkBucketMounts([], [], unable);
  assert.throws(() => checkBucketMounts([spec('/a')], [], unable), {
    code: 'conflict',
    message: /skerry doctor/,
  });
});

test('keys are those of S3, or of Google, with a region where one is said', () => {
  const [plain, region, google, open] = withKeys(
    [
      spec('/a', { ...aws, AWS_SESSION_TOKEN: 'token', OTHER: 'x' }),
      spec('/b', { ...aws, AWS_REGION: 'eu-west-1' }),
      spec('/c', { GOOGLE_ACCESS_KEY_ID: 'g', GOOGLE_ACCESS_KEY_SECRET: 's' }),
      spec('/d'),
    ],
    resolve,
  );
  assert.deepEqual(plain?.keys, { accessKeyId: 'id', secretAccessKey: 'key', sessionToken: 'token' });
  assert.equal(plain?.bucket.region, undefined);
  assert.equal(region?.bucket.region, 'eu-west-1');
  assert.equal(google?.keys?.accessKeyId, 'g');
  assert.equal(open?.keys, undefined);
});

test('a secret that opens nothing, or that would be more than a key, is refused', () => {
  for (const env of [
    {},
    { AWS_ACCESS_KEY_ID: 'id' },
    { ...aws, AWS_ACCESS_KEY_ID: 'a b' },
    { ...aws, AWS_SECRET_ACCESS_KEY: 'a\nb' },
    { ...aws, AWS_REGION: 'eu,use_cache=/' },
  ])
    assert.throws(() => withKeys([spec('/a', env)], resolve), { code: 'invalid-argument' });
});
