import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { programArguments, reason, whyNoBuckets } from './buckets.ts';

const bucket = {
  name: 'data',
  endpoint: 'https://host',
  prefix: 'a/b/',
  region: undefined,
  pathStyle: false,
  requesterPays: false,
};
const keys = { accessKeyId: 'the-id', secretAccessKey: 'the-secret', sessionToken: 'the-token' };

describe('the program of a bucket', () => {
  it('is told which objects, and never the keys', () => {
    const argv = programArguments(bucket, keys, false, '   notsup_compat_dir (…)');
    assert.equal(argv[0], 'data:/a/b');
    const options = argv.at(-1)?.split(',') ?? [];
    assert.ok(options.includes('url=https://host') && options.includes('use_session_token'));
    assert.ok(!argv.join(' ').match(/the-/));
    for (const name of ['public_bucket=1', 'ro', 'requester_pays', 'use_path_request_style', 'compat_dir'])
      assert.ok(!options.includes(name), name);
  });

  it('is told what differs from bucket to bucket', () => {
    const other = { ...bucket, prefix: '', region: 'auto', pathStyle: true, requesterPays: true };
    const argv = programArguments(other, undefined, true, '   compat_dir (…)');
    assert.equal(argv[0], 'data');
    const options = argv.at(-1)?.split(',') ?? [];
    for (const name of [
      'public_bucket=1',
      'ro',
      'requester_pays',
      'compat_dir',
      'use_path_request_style',
      'endpoint=auto',
    ])
      assert.ok(options.includes(name), name);
  });

  it('is missed where it is not installed', (t) => {
    const { PATH } = process.env;
    t.after(() => Object.assign(process.env, { PATH }));
    process.env.PATH = '/usr/sbin';
    assert.equal(whyNoBuckets(), 's3fs not found');
  });

  it('says why it would not in words that are passed on', () => {
    const words = [
      '[ERR] curl.cpp:CheckBucket(3421): Check bucket failed, S3 response: <Error>…</Error>',
      '[CRT] s3fs.cpp:s3fs_check_service(3590): invalid credentials(host=http://x) - result of checking service.',
      '[ERR] s3fs.cpp:s3fs_exit_fuseloop(3372): Exiting FUSE event loop due to errors',
      '',
    ].join('\n');
    assert.equal(reason(words), 'invalid credentials(host=http://x)');
    const newer =
      '[CRT] s3fs.cpp:s3fs_check_service(4495): Failed to check bucket and directory for mount point : Invalid Credentials(host=http://x)';
    assert.equal(reason(newer), 'Invalid Credentials(host=http://x)');
    assert.equal(reason('s3fs: something else.\n'), 's3fs: something else');
    assert.equal(reason(''), 's3fs gave no reason');
  });
});
