import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cleanup } from '../../platform/cleanup.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { makeAuthority, makeServerCertificate, type Pair } from '../../transport/issue-certificate.ts';
import { parseReference } from './reference.ts';
import { Registry } from './registry.ts';
import { RegistryReach } from './registry-reach.ts';

/** `10.0.0.1` for `10-0-0-1.test`, several with a `+` between them. */
const lookup = async (host: string) =>
  host
    .replace(/\.test$/, '')
    .split('+')
    .map((name) =>
      /^[0-9-]+$/.test(name)
        ? { address: name.replaceAll('-', '.'), family: 4 }
        : { address: name.replaceAll('_', ':'), family: 6 },
    );

describe('which addresses images come from', () => {
  const reach = (allowed: string[]) => new RegistryReach({ named: ['10.0.0.1:5000'], allowed, lookup });

  it('public ones, and no others, however they are written', async () => {
    const check = reach([]);
    for (const host of ['8.8.8.8', '[2606:4700::1]', '8-8-8-8.test', '2606_4700__1.test', '::ffff:8.8.8.8']) {
      assert.ok((await check.addresses(host)).length > 0);
    }
    const closed = ['10.0.0.1', '127.0.0.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '192.168.1.1'];
    const closedV6 = ['[::1]', '[::]', '[fd00::1]', '[fe80::1]', '[::ffff:10.0.0.1]', '[64:ff9b::a00:1]'];
    const names = ['10-0-0-1.test', '8-8-8-8+10-0-0-1.test', '8-8-8-8+__1.test', '169-254-169-254.test'];
    for (const host of [...closed, ...closedV6, ...names]) {
      await assert.rejects(check.addresses(host), /not a public address/, host);
    }
  });

  it('those the operator allows, by network or by name', async () => {
    const check = reach(['10.0.0.0/24', 'mirror.corp', '192-168-1-1.TEST']);
    for (const host of ['10.0.0.7', '10-0-0-1.test', '192-168-1-1.test', '::ffff:10.0.0.1']) {
      assert.ok((await check.addresses(host)).length > 0, host);
    }
    for (const host of ['10.0.1.1', '192.168.1.1', '192-168-1-2.test']) {
      await assert.rejects(check.addresses(host), /not a public address/, host);
    }
    assert.ok(check.trusts('10.0.0.1:5000'));
    assert.equal(check.trusts('10.0.0.1:5001'), false);
    assert.throws(() => reach(['10.0.0.0/33']), /not an IPv4 network/);
  });
});

describe('a registry that leads elsewhere', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  const cleanup = new Cleanup();
  let directory: string;
  let authority: Pair;
  const day = 86_400_000;
  const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
  const { SSL_CERT_FILE } = process.env;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-reach-'));
    cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
    authority = await makeAuthority('test', validity, undefined);
    await writeFile(join(directory, 'ca.pem'), authority.cert);
    process.env.SSL_CERT_FILE = join(directory, 'ca.pem');
  });
  after(async () => {
    if (SSL_CERT_FILE === undefined) delete process.env.SSL_CERT_FILE;
    else process.env.SSL_CERT_FILE = SSL_CERT_FILE;
    await cleanup.run();
  });

  /** A server over TLS on loopback; its port, and the paths it was asked for. */
  async function serve(names: string[], listener: RequestListener) {
    const asked: string[] = [];
    const pair = await makeServerCertificate(authority, names, validity, undefined);
    const server = createServer(pair, (request, response) => {
      asked.push(request.url ?? '');
      listener(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanup.add('server', () => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    assert.ok(typeof address === 'object' && address);
    return { port: address.port, asked };
  }

  async function pull(reference: string, allowed: string[]) {
    const workspace = await mkdtemp(join(directory, 'w-'));
    const loopback = async () => [{ address: '127.0.0.1', family: 4 }];
    const registry = new Registry({
      ...{ mirrors: [], insecure: [], allowed, maxImageBytes: 1 << 30, timeoutMs: 20_000 },
      room: new MachineRoom(directory),
      lookup: loopback,
      clock: Date.now,
    });
    const signal = AbortSignal.timeout(60_000);
    const result = await registry.pull(parseReference(reference), undefined, workspace, signal);
    return result.kind === 'failed' ? result.reasons.join() : result.kind;
  }

  it('is not asked at all where it is not public itself', async () => {
    const { port, asked } = await serve(['own.test'], (_, response) => response.end('{}'));
    assert.match(await pull(`own.test:${port}/team/app:1`, []), /own\.test \(127\.0\.0\.1\) is not a public/);
    assert.match(await pull(`127.0.0.1:${port}/team/app:1`, []), /127\.0\.0\.1 is not a public address/);
    assert.deepEqual(asked, []);
  });

  it('is followed no further than that', async () => {
    const inner = await serve(['inner.test', '127.0.0.1'], (_, response) => response.end('secret'));
    for (const target of [`https://inner.test:${inner.port}`, `https://127.0.0.1:${inner.port}`]) {
      const { port, asked } = await serve(['own.test'], (request, response) => {
        if (request.url === '/v2/') response.end('{}');
        else response.writeHead(307, { location: `${target}/latest/meta-data` }).end();
      });
      const reason = await pull(`own.test:${port}/team/app:1`, ['own.test']);
      assert.match(reason, /inner\.test \(127\.0\.0\.1\) is not a public address|cannot be reached/);
      assert.ok(asked.includes('/v2/team/app/manifests/1'), 'the gate lets through what is allowed');
    }
    assert.deepEqual(inner.asked, []);
  });

  it('nor for a token', async () => {
    const inner = await serve(['inner.test'], (_, response) => response.end('{"token":"x"}'));
    const { port } = await serve(['own.test'], (_, response) => {
      const realm = `Bearer realm="https://inner.test:${inner.port}/token"`;
      response.writeHead(401, { 'www-authenticate': realm }).end();
    });
    const reason = await pull(`own.test:${port}/team/app:1`, ['own.test']);
    assert.match(reason, /inner\.test \(127\.0\.0\.1\) is not a public address/);
    assert.deepEqual(inner.asked, []);
  });

  it('leaves no socket behind', async (t) => {
    const own = await mkdtemp(join(tmpdir(), 'skerry-reach-'));
    const { TMPDIR } = process.env;
    t.after(() => {
      if (TMPDIR === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = TMPDIR;
      return rm(own, { recursive: true, force: true });
    });
    process.env.TMPDIR = own;
    await pull('own.test:9/team/app:1', ['own.test']);
    assert.deepEqual(await readdir(own), []);
  });
});
