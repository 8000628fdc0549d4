import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../../../telemetry/logger.ts';
import { respond, type Transfers, transferRoute } from './transfers.ts';

const NEVER_MS = 3_600_000;
const HEAD = 'PUT /files/a HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\n';

/** Sends the beginning of a body to a server that was started so long ago. @returns its connection */
async function begin(t: TestContext, sinceStartMs: number) {
  const transfers: Transfers = {
    put: async ({ request, response }) => respond(response, 200, String((await buffer(request)).length)),
    get: async () => assert.fail(),
  };
  const route = transferRoute('/files/', transfers, createLogger('silent'), {
    ...{ idleMs: NEVER_MS, resentIdleMs: 200, justStartedMs: 1000 },
    sinceStartMs: () => sinceStartMs,
  });
  const server = createServer((request, response) => void route.handle(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1'); // it listens on a port
  const [request] = await Promise.all([once(server, 'request'), socket.write(`${HEAD}12345`)]);
  return { socket, request: request[0] };
}

test('a body that stands still at a server which has just started is given up soon', async (t) => {
  const { socket } = await begin(t, 999);
  await once(socket, 'close');
});

test('at one that has run for a while it may go on later', async (t) => {
  const { socket, request } = await begin(t, 1000);
  assert.equal(request.socket.timeout, NEVER_MS);
  socket.end('67890');
  const answer = await text(socket);
  assert.match(answer, /^HTTP\/1.1 200 /);
  assert.ok(answer.endsWith('\r\n10'), answer);
});
