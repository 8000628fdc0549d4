import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { listen } from './listener.ts';
import { PeerSessions } from './peer-sessions.ts';
import { createPort } from './port.ts';
import { makeCertificate } from './testing/certificate.ts';

const logger = createLogger('silent');
const HOST = '127.0.0.1';

test('the clients of a server may leave more calls at once than a port lets one client leave', async (t) => {
  const certificate = await makeCertificate();
  const sessions = new Set<unknown>();
  const calls = 4_000;
  let leftCalls = 0;
  const allLeft = Promise.withResolvers<void>();
  const port = createPort({
    listener: await listen({ host: HOST, port: 0 }),
    ...{ tls: certificate, plaintextFrom: 'machine', logger },
    onRequest: (request, response) => {
      if ('stream' in request) sessions.add(request.stream.session);
      if (request.url === '/whole') return void response.end();
      response.once('close', () => {
        if (++leftCalls === calls) allLeft.resolve();
      });
      (response as ServerResponse).writeHead(200).flushHeaders(); // HTTP/2 has these too
    },
    onUpgrade: (_request, socket) => socket.destroy(),
  });
  t.after(() => port.close(0));
  const peers = new PeerSessions({ logger });
  t.after(() => peers.close());
  const peer = { host: HOST, port: port.address.port, fingerprint: certificate.fingerprint };
  const { signal } = new AbortController();
  const ask = async (path: string) => {
    const stream = await peers.request(peer, { ':path': path }, { endStream: true }, signal);
    await once(stream, 'response');
    return stream;
  };
  const waiting = await Promise.all(Array.from({ length: calls }, () => ask('/waits')));
  assert.equal(sessions.size, 3);
  for (const stream of waiting) {
    stream.close(constants.NGHTTP2_CANCEL);
    stream.destroy();
  }
  await allLeft.promise;
  await Promise.all(Array.from({ length: 200 }, async () => (await ask('/whole')).resume()));
  assert.equal(sessions.size, 3);
});
