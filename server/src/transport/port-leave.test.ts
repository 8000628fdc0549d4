/** A port that leaves its listener to another. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { type Listener, listen } from './listener.ts';
import { createPort, type RequestListener } from './port.ts';
import { makeCertificate } from './testing/certificate.ts';

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

test('who is connected is cut in the end, also when they reset; who comes waits for the next', async () => {
  const tls = await makeCertificate();
  const listener: Listener = await listen({ host: '127.0.0.1', port: 0 });
  const logger = createLogger('silent');
  const take = (onRequest: RequestListener) =>
    createPort({
      ...{ listener, tls, logger, onRequest, plaintextFrom: 'machine' },
      onUpgrade: (_request, socket) => socket.destroy(),
    });
  const asked = Promise.withResolvers<void>();
  let requests = 0;
  const first = take(() => {
    if (++requests === 2) asked.resolve(); // and neither is answered
  });
  const connect = async () => {
    const socket = net.connect(listener.address.port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(GET);
    return socket;
  };
  const [resets, waits] = [await connect(), await connect()];
  await asked.promise;
  const left = first.leave(100);
  resets.resetAndDestroy();
  const next = await connect();
  const cut = once(waits, 'close');
  await left;
  await cut;
  const second = take((_request, response) => void response.end('the next'));
  const [answer] = await once(next, 'data');
  assert.match(String(answer), /the next/);
  next.destroy();
  await second.close(0);
});
