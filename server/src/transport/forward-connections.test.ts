import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { type ForwardOptions, forwardConnections } from './forward-connections.ts';
import { listen } from './listener.ts';
import type { Peer } from './peer-link.ts';
import { createPort } from './port.ts';
import { makeCertificate } from './testing/certificate.ts';

const logger = createLogger('silent');
const HOST = '127.0.0.1';

/** A server that answers with its name, and how the call came. */
async function serve(t: TestContext, name: string): Promise<Peer> {
  const certificate = await makeCertificate();
  const port = createPort({
    listener: await listen({ host: HOST, port: 0 }),
    tls: certificate,
    plaintextFrom: 'machine',
    onRequest: (request, response) => void response.end(`${name} ${request.httpVersion} ${request.url}`),
    onUpgrade: (_request, socket) => socket.destroy(),
    logger,
  });
  t.after(() => port.close(0));
  return { host: HOST, port: port.address.port, fingerprint: certificate.fingerprint };
}

async function forwarding(t: TestContext, options: Pick<ForwardOptions, 'peer'> & Partial<ForwardOptions>) {
  const listener = await listen({ host: HOST, port: 0 });
  const forwarded = forwardConnections({ listener, plaintextFrom: 'machine', logger, ...options });
  t.after(() => {
    forwarded.stop();
    return listener.close();
  });
  return { ...forwarded, listener, port: listener.address.port };
}

const get = (module: typeof http | typeof https, port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    module
      .get({ host: HOST, port, path: '/it', rejectUnauthorized: false, agent: false }, (response) =>
        resolve(text(response)),
      )
      .on('error', reject);
  });

async function get2(url: string): Promise<string> {
  const session = http2.connect(url, { rejectUnauthorized: false });
  try {
    return await text(session.request({ ':path': '/it' }));
  } finally {
    session.close();
  }
}

test('whatever a client speaks, another server answers it', async (t) => {
  const peer = await serve(t, 'leader');
  const { port } = await forwarding(t, { peer: () => peer });
  assert.equal(await get(http, port), 'leader 1.1 /it');
  assert.equal(await get(https, port), 'leader 1.1 /it');
  assert.equal(await get2(`http://${HOST}:${port}`), 'leader 2.0 /it');
  assert.equal(await get2(`https://${HOST}:${port}`), 'leader 2.0 /it');
});

test('who comes while nobody leads waits for who does', async (t) => {
  let peer: Peer | undefined;
  let looked = () => {};
  const looks = new Promise<void>((resolve) => {
    looked = resolve;
  });
  const { port } = await forwarding(t, {
    peer: () => {
      looked();
      return peer;
    },
  });
  const answer = get(http, port);
  await looks;
  peer = await serve(t, 'late');
  assert.equal(await answer, 'late 1.1 /it');
});

test('nobody waits for ever', async (t) => {
  const { port } = await forwarding(t, { peer: () => undefined, patienceMs: 1 });
  await assert.rejects(get(http, port), { code: 'ECONNRESET' });
});

test('a server with another key is told nothing', async (t) => {
  const heard: unknown[] = [];
  const peer = await serve(t, 'leader');
  const other = await serve(t, 'other');
  const { port } = await forwarding(t, {
    peer: () => ({ ...peer, port: other.port }),
    patienceMs: 300,
    logger: createLogger('silent'),
  });
  await assert.rejects(
    get(http, port).then((answer) => heard.push(answer)),
    { code: 'ECONNRESET' },
  );
  assert.deepEqual(heard, []);
});

test('what goes to one that leads no more is cut, also when that says nothing', async (t) => {
  const [first, second] = [await serve(t, 'first'), await serve(t, 'second')];
  let peer = first;
  const { port, cutOthers } = await forwarding(t, { peer: () => peer });
  const session = http2.connect(`http://${HOST}:${port}`);
  assert.equal(await text(session.request({ ':path': '/it' })), 'first 2.0 /it');
  cutOthers();
  assert.equal(await text(session.request({ ':path': '/it' })), 'first 2.0 /it');
  peer = second;
  const closed = once(session, 'close');
  cutOthers();
  await closed;
  assert.equal(await get(http, port), 'second 1.1 /it');
});

test('who was not answered yet is for the server that this one becomes', async (t) => {
  const { port, stop, listener } = await forwarding(t, { peer: () => undefined });
  const waiting = get(http, port);
  const silent = net.connect({ host: HOST, port });
  t.after(() => silent.destroy());
  await once(silent, 'connect');
  stop();
  const whileHeld = get(http, port);
  const own = createPort({
    ...{ listener, logger, plaintextFrom: 'machine', tls: await makeCertificate() },
    onRequest: (_request, response) => void response.end('myself'),
    onUpgrade: (_request, socket) => socket.destroy(),
  });
  assert.deepEqual(await Promise.all([waiting, whileHeld]), ['myself', 'myself']);
  silent.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.match(await text(silent), /myself$/);
  await own.close(0);
});
