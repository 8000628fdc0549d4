import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { authConfig } from './bases/registry.ts';
import { readLogin } from './registry-login.ts';

describe('a file of passwords', () => {
  let directory: string;
  let file: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-login-'));
    file = join(directory, 'config.json');
  });
  after(() => rm(directory, { recursive: true, force: true }));

  const refused = (what: RegExp) => (error: Error & { readonly code?: string }) =>
    error.code === 'invalid-argument' && what.test(error.message);

  it('has the password of a registry, colons and all, and not that of another', async () => {
    const login = { username: 'robot', password: 'a:b c' };
    for (const registry of ['registry.example:5000', 'docker.io']) {
      await writeFile(file, JSON.stringify({ ...authConfig(registry, login), credsStore: 'none' }));
      assert.deepEqual(await readLogin(file, registry), login);
      await assert.rejects(readLogin(file, 'other.example'), refused(/no password of other\.example/));
    }
  });

  it('that is none, or holds none, is refused in words that have no password', async () => {
    await assert.rejects(readLogin(join(directory, 'none'), 'a.example'), refused(/Cannot read/));
    await writeFile(file, '{"auths": {"a.example": {"auth": 1}}}');
    await assert.rejects(readLogin(file, 'a.example'), refused(/is no file of passwords/));
    await writeFile(file, '{"auths": {"a.example": {}}}');
    await assert.rejects(readLogin(file, 'a.example'), refused(/docker login a\.example/));
    await writeFile(file, '{secret');
    await assert.rejects(readLogin(file, 'a.example'), (error: Error) => !error.message.includes('secret'));
  });
});
