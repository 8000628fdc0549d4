/** Buckets through the official JavaScript client; `buckets.test.ts` runs the S3 server. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { modal, run, running } from './harness.mjs';

const { LIFE_ENDPOINT, LIFE_BUCKETS, LIFE_AWS_ACCESS_KEY_ID, LIFE_AWS_SECRET_ACCESS_KEY } = process.env;

await run({
  async 'a bucket is mounted, whole and in part'() {
    const directory = join(LIFE_BUCKETS, 'first', 'js', 'deep');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'file'), 'from outside\n');
    const secret = await modal.secrets.fromObject({
      AWS_ACCESS_KEY_ID: LIFE_AWS_ACCESS_KEY_ID,
      AWS_SECRET_ACCESS_KEY: LIFE_AWS_SECRET_ACCESS_KEY,
    });
    const params = { secret, bucketEndpointUrl: LIFE_ENDPOINT };
    const cloudBucketMounts = {
      '/all': modal.cloudBucketMounts.create('first', { ...params, readOnly: true }),
      '/part': modal.cloudBucketMounts.create('first', { ...params, keyPrefix: 'js/deep/' }),
    };
    await running({ cloudBucketMounts }, async (sandbox) => {
      const script = 'cat /all/js/deep/file /part/file; echo written > /part/new; echo x > /all/x';
      const process = await sandbox.exec(['sh', '-c', script]);
      const [out, errors] = await Promise.all([process.stdout.readText(), process.stderr.readText()]);
      assert.equal(out, 'from outside\nfrom outside\n');
      assert.match(errors, /Read-only/);
    });
    assert.equal(readFileSync(join(directory, 'new'), 'utf8'), 'written\n');
  },
});
