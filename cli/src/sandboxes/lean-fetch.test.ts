import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { leanFetch } from './lean-fetch.ts';

describe('fetch on node:http', () => {
  const server = createServer(async (request, response) => {
    if (request.url === '/never') return;
    if (request.url === '/full') {
      // The rest of what is sent is not read.
      response.writeHead(413, { 'retry-after': '7', connection: 'close' }).end('too large');
      return;
    }
    const pieces = await Array.fromAsync(request as AsyncIterable<Buffer>);
    const { method, headers } = request;
    const sent = Buffer.concat(pieces).toString();
    response.end(JSON.stringify({ method, sent, key: headers.authorization }));
  });
  let url: string;
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens at a port
  });
  after(() => server.close().closeAllConnections());
  const headers = { authorization: 'Bearer k' };
  const streamOf = (...pieces: string[]) =>
    ReadableStream.from(pieces.map((piece) => new TextEncoder().encode(piece)));

  test('sends bodies of every kind and gives answers in every form', async () => {
    const bodies = [
      'a text',
      new TextEncoder().encode('bytes'),
      new Blob(['a blob']),
      streamOf('in ', 'pieces'),
    ];
    const sent = [];
    for (const body of bodies) {
      const answer = await leanFetch(url, { method: 'PUT', headers, body, duplex: 'half' });
      assert.deepEqual([answer.ok, answer.status, answer.headers.get('None')], [true, 200, null]);
      sent.push(((await answer.json()) as { sent: string }).sent);
    }
    assert.deepEqual(sent, ['a text', 'bytes', 'a blob', 'in pieces']);
    const expected = '{"method":"GET","sent":"","key":"Bearer k"}';
    const again = () => leanFetch(url, { method: 'GET', headers });
    assert.equal(await (await again()).text(), expected);
    assert.equal(new TextDecoder().decode(await (await again()).arrayBuffer()), expected);
    assert.equal(await new Response((await again()).body).text(), expected);
  });

  test('tells of an answer that comes before everything was sent', async () => {
    const endless = new ReadableStream<Uint8Array>({ pull: (to) => to.enqueue(new Uint8Array(65_536)) });
    const request = { method: 'PUT', headers, body: endless, duplex: 'half' } as const;
    const answer = await leanFetch(`${url}/full`, request);
    assert.deepEqual(
      [answer.ok, answer.status, answer.headers.get('Retry-After'), await answer.text()],
      [false, 413, '7', 'too large'],
    );
  });

  test('ends with its signal, and where nobody listens', async () => {
    const enough = new AbortController();
    const waiting = leanFetch(`${url}/never`, { method: 'GET', headers, signal: enough.signal });
    setImmediate(() => enough.abort());
    await assert.rejects(waiting, { name: 'AbortError' });
    await assert.rejects(leanFetch('http://127.0.0.1:1', { method: 'GET', headers }), /ECONNREFUSED/);
  });
});
