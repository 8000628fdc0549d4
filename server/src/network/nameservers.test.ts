import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nameservers } from './nameservers.ts';

const directory = await mkdtemp(join(tmpdir(), 'skerry-nameservers-'));
after(() => rm(directory, { recursive: true, force: true }));

describe('nameservers', () => {
  it('are the configured ones, which must be addresses', async () => {
    assert.deepEqual(await nameservers(['9.9.9.9', '::1']), ['9.9.9.9', '::1']);
    await assert.rejects(nameservers(['dns.example']), { code: 'invalid-argument' });
  });

  it('or those of resolv.conf, three at most', async () => {
    const file = join(directory, 'resolv.conf');
    await writeFile(
      file,
      '# nameserver 1.1.1.1\nsearch x\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver bad\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n',
    );
    assert.deepEqual(await nameservers([], file), ['127.0.0.53', 'fe80::1', '8.8.8.8']);
    assert.deepEqual(await nameservers([], join(directory, 'missing')), []);
  });
});
