/** Tunnels over the real domain, the fake engine and the real agent: programs of busybox serve in the sandboxes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import net, { type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, describe, it } from 'node:test';
import tls from 'node:tls';
import { ConnectTokens } from '../auth/connect-tokens.ts';
import { type Config, configSchema } from '../config/config.ts';
import { freePort } from '../platform/testing/free-port.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import type { OpenPort } from '../sandboxes/spec.ts';
import { Domain, deadline, eventually } from '../sandboxes/testing/domain.ts';
import { loadCertificate } from '../transport/certificate.ts';
import { MOST_CONNECTIONS } from './entrance.ts';
import { type OpenTunnels, openTunnels } from './open-tunnels.ts';
import type { Endpoint, Tunnel } from './tunnels.ts';

const PORT = 5000;
const port = (more: Partial<OpenPort> = {}): OpenPort => ({ port: PORT, h2: false, plain: true, ...more });

/** A server from the start: an exec would be activity, too. */
const serving = (program: string): string[] => ['nc', '-ll', '-p', `${PORT}`, '-e', 'sh', '-c', program];

interface Options {
  readonly config?: Partial<Config>;
  readonly mayEnter?: (address: string) => boolean;
}

/** Closed when the test is over, also when it fails: a port that still listens would keep this process. */
async function over(
  domain: Domain,
  { config, mayEnter = () => true }: Options = {},
): Promise<OpenTunnels & Disposable> {
  const { dataDir, logger } = domain;
  const certificate = await loadCertificate({ dataDir, certFile: '', keyFile: '', names: [], now: Date.now });
  const opened = await openTunnels({
    config: { ...configSchema.parse({ dataDir }), tunnelPorts: '21000-21999', ...config },
    repository: domain.store.tunnels,
    gateways: {
      repository: domain.store.gateways,
      tokens: new ConnectTokens(new Uint8Array(32), Date.now),
    },
    sandboxes: domain.manager,
    follow: (follower) => domain.manager.follow(follower),
    mayEnter: (_sandbox, address) => mayEnter(address),
    ...{ certificate, logger, names: [], now: Date.now },
  });
  return { ...opened, [Symbol.dispose]: () => opened.close() };
}

interface Opened extends AsyncDisposable {
  readonly domain: Domain;
  readonly opened: OpenTunnels;
  readonly sandbox: Sandbox;
  readonly tunnel: Tunnel & { readonly plain: Endpoint };
}

/** A sandbox with one tunnel. */
async function tunnelled(
  args: readonly string[],
  options: Options & { readonly port?: Partial<OpenPort>; readonly idleTimeoutMs?: number } = {},
): Promise<Opened> {
  await using resources = new AsyncDisposableStack();
  const domain = resources.use(await Domain.open());
  const opened = resources.use(await over(domain, options));
  const { idleTimeoutMs } = options;
  const sandbox = await domain.running({ args, openPorts: [port(options.port)], idleTimeoutMs });
  const [tunnel] = (await opened.tunnels.of(sandbox, 60_000, deadline())) ?? [];
  assert.ok(tunnel?.plain);
  const { plain } = tunnel;
  const kept = resources.move();
  return {
    ...{ domain, opened, sandbox, tunnel: { ...tunnel, plain } },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Those of the tests: one that is cut off with TLS still has its own half, which would keep this process. */
const clients = new Set<Socket>();
after(() => {
  for (const client of clients) client.destroy();
});

function follow<Client extends Socket>(client: Client): Client {
  clients.add(client);
  return client.on('error', () => {}).on('close', () => clients.delete(client));
}

/** Without TLS. */
const plainTo = ({ host, port }: Endpoint): Socket =>
  follow(net.connect({ host, port, allowHalfOpen: true }));

/** With the authority of the data directory, and no other, trusted. */
function tlsTo(
  { domain }: Pick<Opened, 'domain'>,
  { host, port }: Endpoint,
  { at = host, protocols = ['http/1.1'] }: { readonly at?: string; readonly protocols?: string[] } = {},
): tls.TLSSocket {
  const ca = readFileSync(join(domain.dataDir, 'tls/ca.pem'));
  const options: tls.ConnectionOptions & net.SocketConstructorOpts = {
    ...{ host: at, port, ca, ALPNProtocols: protocols, allowHalfOpen: true },
    ...(net.isIP(host) ? {} : { servername: host }),
  };
  return follow(tls.connect(options));
}

async function text(stream: Duplex): Promise<string> {
  let all = '';
  for await (const chunk of stream) all += chunk;
  return all;
}

async function http(client: Duplex, path = '/'): Promise<string> {
  client.end(`GET ${path} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n`);
  return text(client);
}

/** How a connection ended for its client: in order, or cut off. */
const ending = async (client: Socket): Promise<'end' | 'cut'> =>
  once(client.resume(), 'end').then(
    () => 'end' as const,
    () => 'cut' as const,
  );

describe('a tunnel', () => {
  it('carries bytes both ways with half-close, with TLS of the local authority and without', async () => {
    await using opened = await tunnelled(serving('cat; echo over'));
    const { plain, encrypted, containerPort } = opened.tunnel;
    assert.equal(containerPort, PORT);
    assert.notEqual(plain.port, encrypted.port);
    for (const client of [plainTo(plain), tlsTo(opened, encrypted)]) {
      client.end('hello\n');
      assert.equal(await text(client), 'hello\nover\n');
    }
  });

  it('reaches a server on the loopback alone, whose client waits for it', async () => {
    await using opened = await tunnelled([
      'sh',
      '-c',
      `sleep 1; exec httpd -f -p 127.0.0.1:${PORT} -h /data`,
    ]);
    assert.match(
      await http(tlsTo(opened, opened.tunnel.encrypted), '/lower.txt'),
      / 200 OK.*\r\n\r\nlower\n$/s,
    );
  });

  it('serves all who waited', async () => {
    await using opened = await tunnelled(['sh', '-c', `sleep 1; exec httpd -f -p ${PORT} -h /data`]);
    const clients = Array.from({ length: 40 }, () => http(plainTo(opened.tunnel.plain), '/lower.txt'));
    for (const answer of await Promise.all(clients)) assert.match(answer, / 200 OK/);
  });

  it('says 502 to who speaks HTTP when nothing listens in time, and cuts off who does not', async () => {
    await using opened = await tunnelled(['sleep', '1000'], {
      config: { tunnelWaitMs: 200 },
      port: { h2: true },
    });
    const { plain, encrypted } = opened.tunnel;
    for (const client of [plainTo(plain), tlsTo(opened, encrypted)]) {
      const answer = await http(client);
      assert.match(answer, /^HTTP\/1.1 502 Bad Gateway\r\n/);
      assert.match(answer, /\r\n\r\nNothing in the sandbox listens on port 5000/);
    }
    const other = plainTo(plain);
    other.write('\x00\x01\x02');
    assert.equal(await ending(other), 'cut');

    for (const createConnection of [
      () => plainTo(plain),
      () => tlsTo(opened, encrypted, { protocols: ['h2'] }),
    ]) {
      const session = http2.connect(`http://${plain.host}`, { createConnection });
      const request = session.request({ ':path': '/' });
      const [headers] = await once(request, 'response');
      assert.equal(headers[':status'], 502);
      assert.match(await text(request), /Nothing in the sandbox listens/);
      session.close();
    }
  });

  it('agrees on HTTP/2 only where that was asked for, and on whatever else the client has', async () => {
    const agreed = async (opened: Opened, protocols: string[]) => {
      const client = tlsTo(opened, opened.tunnel.encrypted, { protocols });
      await once(client, 'secureConnect');
      client.destroy();
      return client.alpnProtocol;
    };
    await using one = await tunnelled(serving('cat'));
    assert.equal(await agreed(one, ['h2', 'http/1.1']), 'http/1.1');
    assert.equal(await agreed(one, ['postgresql']), 'postgresql');
    await using two = await tunnelled(serving('cat'), { port: { h2: true } });
    assert.equal(await agreed(two, ['http/1.1', 'h2']), 'h2');
    assert.equal(await agreed(two, ['http/1.1']), 'http/1.1');
  });

  it('cuts its clients off when the sandbox ends, and is gone', async () => {
    await using opened = await tunnelled(serving('cat'));
    const { plain, encrypted } = opened.tunnel;
    const clients = [plainTo(plain), tlsTo(opened, encrypted)];
    for (const client of clients) {
      client.write('x');
      await once(client, 'data');
    }
    const endings = clients.map(ending);
    await opened.sandbox.terminate();
    assert.equal(await endings[0], 'cut');
    // How a missing closing alert shows is the client's choice: Node's ends.
    await endings[1];
    await eventually(async () => (await ending(plainTo(plain))) === 'cut');
    assert.deepEqual(opened.domain.store.tunnels.all(), []);
    await assert.rejects(opened.opened.tunnels.of(opened.sandbox, 1000, deadline()), {
      code: 'sandbox-ended',
    });
  });

  it('keeps its addresses under the next server', async () => {
    const first = await tunnelled(serving('cat'));
    first.opened.close();
    const domain = await first.domain.restart();
    await using _domain = domain;
    using opened = await over(domain);
    const sandbox = domain.manager.get(first.sandbox.id);
    // Without anybody asking.
    const client = tlsTo({ domain }, first.tunnel.encrypted);
    client.end('still there');
    assert.equal(await text(client), 'still there');
    assert.deepEqual(await opened.tunnels.of(sandbox, 60_000, deadline()), [first.tunnel]);
  });

  it('listens as soon as the port it had is free again', async () => {
    const first = await tunnelled(serving('cat'));
    const { plain } = first.tunnel;
    first.opened.close();
    await using intruder = net.createServer((socket) => socket.end('not yours'));
    const domain = await first.domain.restart();
    await using _domain = domain;
    await eventually(async () => {
      intruder.listen(plain);
      return once(intruder, 'listening').then(
        () => true,
        () => false,
      );
    });
    using _opened = await over(domain);
    const misled = plainTo(plain);
    misled.end();
    assert.equal(await text(misled), 'not yours');
    intruder.close();
    await eventually(async () => {
      const client = plainTo(plain);
      client.end('mine');
      return (await text(client).catch(() => '')) === 'mine';
    });
  });

  it('counts as activity while a connection is open, and no longer', async () => {
    await using opened = await tunnelled(serving('cat'), { idleTimeoutMs: 300 });
    const client = plainTo(opened.tunnel.plain);
    client.write('x');
    await once(client, 'data');
    const ended = opened.sandbox.wait(60_000, deadline());
    // Longer than the idle timeout, by the same clock.
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal(opened.sandbox.state, 'running');
    client.destroy();
    assert.deepEqual(await ended, { kind: 'idle-timeout' });
  });

  it('cuts off who carries nothing for too long, and nobody else', async () => {
    await using opened = await tunnelled(serving('cat'), { config: { tunnelIdleSeconds: 1 } });
    const [idle, busy] = [plainTo(opened.tunnel.plain), plainTo(opened.tunnel.plain)];
    const ended = ending(idle);
    const beats = setInterval(() => busy.write('x'), 100);
    assert.equal(await ended, 'cut');
    clearInterval(beats);
    busy.end('last');
    assert.match(await text(busy), /last$/);
  });

  it('takes only connections from whom it may', async () => {
    const asked: string[] = [];
    const mayEnter = (address: string) => {
      asked.push(address);
      return asked.length > 1;
    };
    await using opened = await tunnelled(serving('cat'), { mayEnter });
    assert.equal(await ending(plainTo(opened.tunnel.plain)), 'cut');
    const client = plainTo(opened.tunnel.plain);
    client.end('in');
    assert.equal(await text(client), 'in');
    assert.deepEqual(asked, ['127.0.0.1', '127.0.0.1']);
  });

  it('has room for as many as it says, and for another when one is gone', async () => {
    await using opened = await tunnelled(['sleep', '1000']);
    const { plain } = opened.tunnel;
    const clients = Array.from({ length: MOST_CONNECTIONS }, () => plainTo(plain));
    await Promise.all(clients.map((client) => once(client, 'connect')));
    assert.equal(await ending(plainTo(plain)), 'cut');
    clients[0]?.resetAndDestroy(); // an orderly end would be seen only once somebody reads
    await eventually(async () => {
      const client = plainTo(plain);
      const cut = ending(client).then(() => true);
      return !(await Promise.race([cut, new Promise((resolve) => setTimeout(resolve, 500))]));
    });
    for (const client of clients) client.destroy();
  });

  it('gives the room of a connection with TLS back, however that ends', async () => {
    await using opened = await tunnelled(serving('cat'), { config: { tunnelConnections: 1 } });
    for (const end of ['end', 'destroy', 'never-secure', 'end'] as const) {
      await eventually(async () => {
        const { encrypted } = opened.tunnel;
        const client = end === 'never-secure' ? plainTo(encrypted) : tlsTo(opened, encrypted);
        client.write('x'); // which is no handshake where there was none
        const came = await once(client, 'data').catch(() => []); // reset: there is no room yet, or it was no handshake
        if (end === 'end') client.end();
        client.destroy();
        return end === 'never-secure' || came.length > 0;
      });
    }
  });

  it('shares what the server has room for', async () => {
    await using opened = await tunnelled(serving('cat'), { config: { tunnelConnections: 1 } });
    const first = plainTo(opened.tunnel.plain);
    first.write('x');
    await once(first, 'data');
    assert.equal(await ending(plainTo(opened.tunnel.plain)), 'cut');
  });
});

describe('tunnels', () => {
  it('are not kept of a sandbox that ends while they are opened', async () => {
    await using domain = await Domain.open();
    using opened = await over(domain);
    const sandbox = await domain.running({ openPorts: [port()] });
    const opening = opened.tunnels.of(sandbox, 60_000, deadline());
    const refused = assert.rejects(opening, { code: 'sandbox-ended' });
    await Promise.resolve(); // it has seen that the sandbox runs
    const ending = sandbox.terminate();
    await Promise.all([refused, ending]);
    assert.deepEqual(domain.store.tunnels.all(), []);
  });

  it('are none where none were asked for, and come once the sandbox runs', async () => {
    await using domain = await Domain.open();
    using opened = await over(domain);
    assert.deepEqual(await opened.tunnels.of(await domain.create(), 0, deadline()), []);
    const held = domain.engine.faults.hold('bind');
    const starting = await domain.create({ openPorts: [port()] });
    assert.equal(await opened.tunnels.of(starting, 100, deadline()), undefined);
    const coming = opened.tunnels.of(starting, 60_000, deadline());
    held.release();
    assert.equal((await coming)?.length, 1);
  });

  it('are refused when no port is left, and work when one is again', async () => {
    await using domain = await Domain.open();
    const only = await freePort();
    using opened = await over(domain, { config: { tunnelPorts: `${only}-${only}` } });
    const first = await domain.running({ openPorts: [port({ plain: false })] });
    assert.equal((await opened.tunnels.of(first, 60_000, deadline()))?.length, 1);
    const second = await domain.running({ openPorts: [port({ plain: false })] });
    await assert.rejects(opened.tunnels.of(second, 60_000, deadline()), {
      code: 'resource-exhausted',
      message: 'All 1 ports for tunnels are in use.',
    });
    await first.terminate();
    await eventually(() =>
      opened.tunnels.of(second, 60_000, deadline()).then(
        (found) => found?.length === 1,
        () => false,
      ),
    );
  });
});

describe('a tunnel of a domain', () => {
  const DOMAIN = 'tunnels.example';
  const at = '127.0.0.1';

  it('is told apart by its name, which is long and random, and keeps it', async () => {
    const tunnelPort = await freePort();
    const config = { tunnelDomain: DOMAIN, tunnelPort, tunnelPublicPort: 443 };
    const first = await tunnelled(serving('cat; echo one'), { config });
    const { encrypted, plain } = first.tunnel;
    assert.match(encrypted.host, /^[a-z2-7]{32}\.tunnels\.example$/);
    assert.equal(encrypted.port, 443);
    assert.equal(plain.host, at);
    const other = await first.domain.running({ args: serving('cat; echo two'), openPorts: [port()] });
    const [second] = (await first.opened.tunnels.of(other, 60_000, deadline())) ?? [];
    assert.ok(second);
    const here = (endpoint: Endpoint) => ({ ...endpoint, port: tunnelPort });
    const says = (opened: Pick<Opened, 'domain'>, endpoint: Endpoint) => {
      const client = tlsTo(opened, here(endpoint), { at });
      client.end('it is ');
      return text(client);
    };
    assert.equal(await says(first, encrypted), 'it is one\n');
    assert.equal(await says(first, second.encrypted), 'it is two\n');

    first.opened.close();
    const domain = await first.domain.restart();
    await using _domain = domain;
    using _opened = await over(domain, { config });
    assert.equal(await says({ domain }, encrypted), 'it is one\n');
    await domain.manager.get(first.sandbox.id).terminate();
    assert.match(await http(tlsTo({ domain }, here(encrypted), { at })), /^HTTP\/1.1 404 Not Found\r\n/);
    assert.equal(await says({ domain }, second.encrypted), 'it is two\n');
  });

  it('cannot be when another program has the port', async () => {
    await using intruder = net.createServer().listen(0, at);
    await once(intruder, 'listening');
    const address = intruder.address();
    assert.ok(address && typeof address === 'object');
    await using domain = await Domain.open();
    const config = { tunnelDomain: DOMAIN, tunnelPort: address.port };
    await assert.rejects(over(domain, { config }), {
      code: 'unavailable',
      message: /--tunnel-port say where/,
    });
  });

  it('is reached by no other name, and by none', async () => {
    const tunnelPort = await freePort();
    const config = { tunnelDomain: DOMAIN, tunnelPort };
    await using opened = await tunnelled(serving('cat'), { config });
    const { host } = opened.tunnel.encrypted;
    for (const name of [`other.${DOMAIN}`, `${host}.${DOMAIN}`, host.slice(0, 10), 'elsewhere.example']) {
      const client = follow(
        tls.connect({ host: at, port: tunnelPort, servername: name, rejectUnauthorized: false }),
      );
      assert.match(await http(client), /^HTTP\/1.1 404 /, name);
    }
    const nameless = follow(tls.connect({ host: at, port: tunnelPort, rejectUnauthorized: false }));
    assert.match(await http(nameless), /^HTTP\/1.1 404 /);
  });
});
