import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Domain } from '../../sandboxes/testing/domain.ts';
import { loadCertificate } from '../../transport/certificate.ts';
import { RequestForwarder } from '../../transport/forward-requests.ts';
import { forwardedOf } from '../../transport/forwarded.ts';
import { listen } from '../../transport/listener.ts';
import { createPort, type RequestListener } from '../../transport/port.ts';
import { routeRequests } from '../../transport/routes.ts';
import { openTokens } from '../testing/owner-token.ts';
import { dashboardRoutes } from './dashboard-routes.ts';

const HOST = '127.0.0.1';

test('the page reaches what another server answers, as who is signed in, and no more of it than of its own', async (t: TestContext) => {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  const { dataDir, logger, vault, root } = domain;
  const { tokens, token } = await openTokens(domain);
  const bearer = `${token.tokenId}:${token.tokenSecret}`;
  const certificate = await loadCertificate({
    ...{ dataDir, certFile: '', keyFile: '', names: [], now: Date.now },
  });
  const serve = async (onRequest: RequestListener) => {
    const port = createPort({
      ...{
        listener: await listen({ host: HOST, port: 0 }),
        tls: certificate,
        plaintextFrom: 'machine',
        logger,
      },
      ...{ onRequest, onUpgrade: (_request, socket) => socket.destroy() },
    });
    t.after(() => port.close(0));
    return port.address.port;
  };
  const key = randomBytes(32);
  const forwarder = new RequestForwarder({ key, logger });
  t.after(() => forwarder.close());
  const back = await serve((request, response) => {
    forwarder.receive(request, response);
    const { url, headers } = request;
    const { authorization, cookie } = headers;
    response.end(JSON.stringify({ url, authorization, cookie, forwarded: forwardedOf(request) }));
  });
  const asked: (readonly string[])[] = [];
  const peer = { host: HOST, port: back, fingerprint: certificate.fingerprint };
  const elsewhere = {
    forwarder,
    peerOf(about: readonly string[], call: string) {
      asked.push([...about, call]);
      return peer;
    },
  };
  const routes = dashboardRoutes({
    ...{ tokens, vault, instance: '01234567', routes: [], logger, now: Date.now, elsewhere },
    directory: join(root, 'no-dashboard'),
  });
  const rpc = { owns: () => false, handle: () => {} };
  const front = await serve(routeRequests({ rpc, routes, logger, elsewhere }));
  const ask = (path: string, init: RequestInit = {}) => fetch(`http://${HOST}:${front}${path}`, init);

  const signedIn = await ask('/dashboard/session', {
    method: 'POST',
    body: JSON.stringify({ token: bearer }),
  });
  const { key: half } = (await signedIn.json()) as { key: string };
  const headers = {
    cookie: signedIn.headers.getSetCookie()[0]?.split(';')[0] ?? '',
    'x-skerry-session': half,
  };
  const answer = await ask('/dashboard/api/v1/sandboxes/it?a=b', { headers });
  assert.equal(answer.headers.get('content-disposition'), 'attachment');
  assert.deepEqual(await answer.json(), {
    ...{ url: '/v1/sandboxes/it?a=b', authorization: `Bearer ${bearer}`, forwarded: { encrypted: false } },
  });
  assert.deepEqual(asked, [['it', 'GET /v1/sandboxes/it']]);
  for (const path of [
    '/dashboard/api/modbox/v1/sandboxes',
    '/dashboard/api/skerry/v1/token',
    '/dashboard/api/',
  ])
    assert.equal((await ask(path, { headers })).status, 404, path);
  assert.equal((await ask('/dashboard/api/v1/sandboxes', {})).status, 401);
  assert.equal(asked.length, 1);
});
