import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeAuthority, makeServerCertificate } from '../transport/issue-certificate.ts';
import { trustCertificates } from './trust.ts';

test('a certificate of the extra file is trusted, and only then', async (t) => {
  const validity = {
    notBefore: new Date(Date.now() - 86_400_000),
    notAfter: new Date(Date.now() + 86_400_000),
  };
  const authority = await makeAuthority('test', validity, undefined);
  const { cert, key } = await makeServerCertificate(authority, ['localhost'], validity, undefined);
  const server = createServer({ cert, key }, (_, response) => response.end('hello')).listen(0, 'localhost');
  await once(server, 'listening');
  const directory = await mkdtemp(join(tmpdir(), 'skerry-trust-'));
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true });
  });
  const address = server.address();
  const url = `https://localhost:${typeof address === 'object' && address ? address.port : 0}/`;
  await assert.rejects(fetch(url));
  const file = join(directory, 'ca.pem');
  await writeFile(file, `# a comment\n${cert}`);
  await trustCertificates(file);
  assert.equal(await (await fetch(url)).text(), 'hello');
});
