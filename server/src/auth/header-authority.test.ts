import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { it } from 'node:test';
import { AesVault } from '../secrets/vault.ts';
import { headerAuthority } from './header-authority.ts';

it('the authority of secret headers is made once, and its key is kept sealed', async () => {
  const kept = new Map<string, string>();
  const settings = {
    get: (key: string) => kept.get(key),
    set: (key: string, value: string) => void kept.set(key, value),
    delete: (key: string) => void kept.delete(key),
  };
  const vault = new AesVault(randomBytes(32));
  const parts = { settings, vault, now: Date.now };
  const authority = headerAuthority(parts);
  assert.equal(kept.size, 0, 'nothing before somebody needs it');
  const [one, same] = await Promise.all([authority(), authority()]);
  assert.deepEqual([same, await headerAuthority(parts)()], [one, one]);
  assert.ok(new X509Certificate(one.cert).ca);
  const text = [...kept.values()].map((value) => Buffer.from(value, 'base64').toString('latin1')).join();
  assert.ok(!text.includes('PRIVATE KEY') && !text.includes(one.key.slice(40, 80)));
  await assert.rejects(headerAuthority({ ...parts, vault: new AesVault(randomBytes(32)) })(), {
    code: 'internal',
  });
});
