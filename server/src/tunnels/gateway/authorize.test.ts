/** Who may pass, and what is left of the token when it has passed. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { CONNECT_TOKEN_LIFETIME_S, ConnectTokens } from '../../auth/connect-tokens.ts';
import { newSandboxId } from '../../ids.ts';
import { type Echoed, echo, GUEST_PORT, serveGateway } from './testing/served-gateway.ts';

const echoed = async (answer: Response): Promise<Echoed> => {
  assert.equal(answer.status, 200, await answer.clone().text());
  return (await answer.json()) as Echoed;
};

/** That nothing of a token came to the program, in whatever it was told. */
const holdsNoToken = (told: Echoed) => assert.doesNotMatch(JSON.stringify(told), /sct_|_modal_connect/);

test('a token opens in the header, in the query and as a cookie, and never comes to the program', async () => {
  await using served = await serveGateway({ program: echo() });
  const { url, token, bearer } = served;
  const asked: [path: string, headers: Record<string, string>, arrives: string][] = [
    ['/a?b=c', bearer, '/a?b=c'],
    ['/a?b=c', { authorization: `bearer   ${token} ` }, '/a?b=c'],
    [`/a?_modal_connect_token=${token}`, {}, '/a'],
    [`/a?x=1&_modal_connect_token=${token}&y=%20+`, {}, '/a?x=1&y=%20+'],
    [`/a?_modal%5Fconnect_token=${token}&x`, {}, '/a?x'],
    ['/a', { cookie: `_modal_connect_token=${token}` }, '/a'],
    ['/a', { cookie: `_modal_connect_token="${token}"` }, '/a'],
    ['/a', { cookie: `a=b; _modal_connect_token=${token};c=d` }, '/a'],
  ];
  for (const [path, headers, arrives] of asked) {
    const told = await echoed(await fetch(url + path, { headers }));
    assert.equal(told.url, arrives);
    holdsNoToken(told);
  }
});

test('a token in the query becomes a cookie of this host until it expires, of one in the header none is made', async () => {
  await using served = await serveGateway({ program: echo() });
  const { url, token, bearer } = served;
  const opened = await fetch(`${url}/?_modal_connect_token=${token}`);
  const [cookie = '', ...others] = opened.headers.getSetCookie();
  assert.deepEqual(others, []);
  assert.match(cookie, /^_modal_connect_token=sct_[\w.-]+; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/);
  const expires = Date.parse(/Expires=([^;]+)/.exec(cookie)?.[1] ?? '');
  assert.ok(Math.abs(expires - Date.now() - CONNECT_TOKEN_LIFETIME_S * 1000) < 60_000);
  const again = await fetch(`${url}/more`, { headers: { cookie: cookie.split(';')[0] ?? '' } });
  assert.equal((await echoed(again)).url, '/more');
  assert.deepEqual(again.headers.getSetCookie(), []);
  assert.deepEqual((await fetch(url, { headers: bearer })).headers.getSetCookie(), []);
});

test('on a host that is shared the cookie of a port is not lost to those of others, and none of them comes to the program', async () => {
  await using served = await serveGateway({ program: echo(), host: 'shared' });
  const { url, port, token, tokens } = served;
  const opened = await fetch(`${url}/?_modal_connect_token=${token}`);
  assert.deepEqual(
    opened.headers.getSetCookie().map((cookie) => cookie.split('=')[0]),
    ['_modal_connect_token', `_modal_connect_token_${port}`],
  );
  const others = await tokens.issue({ sandboxId: newSandboxId(), port: GUEST_PORT, userMetadata: undefined });
  const cookie = `_modal_connect_token=${others}; _modal_connect_token_1=${others}; mine=1; _modal_connect_token_${port}=${token}`;
  const told = await echoed(await fetch(url, { headers: { cookie } }));
  assert.equal(told.headers.cookie, 'mine=1');
  holdsNoToken(told);
});

test('without a good token there is 401, with one for something else 403, and the program hears of nothing', async () => {
  const program = echo();
  let heard = 0;
  program.on('connection', () => heard++);
  await using served = await serveGateway({ program });
  const { url, token, tokens, sandboxId } = served;
  const past = () => Date.now() - (CONNECT_TOKEN_LIFETIME_S + 60) * 1000;
  const grant = { sandboxId, port: GUEST_PORT, userMetadata: undefined };
  const key = new Uint8Array(32).fill(3);
  const expired = await new ConnectTokens(key, past).issue(grant);
  const forged = await new ConnectTokens(new Uint8Array(32).fill(4), Date.now).issue(grant);
  const others = await tokens.issue({ ...grant, sandboxId: newSandboxId() });
  const otherPort = await tokens.issue({ ...grant, port: 9000 });
  const expected: [token: string | undefined, status: number, says: RegExp][] = [
    [undefined, 401, /opens with a connect token only/],
    ['wrong', 401, /token/],
    [token.slice(0, -2), 401, /not valid/],
    [forged, 401, /not valid/],
    [expired, 401, /expired/],
    [others, 403, /another sandbox/],
    [otherPort, 403, /port 9000/],
  ];
  for (const [each, status, says] of expected) {
    const ways: [string, Record<string, string>][] = each
      ? [
          ['/', { authorization: `Bearer ${each}` }],
          [`/?_modal_connect_token=${each}`, {}],
          ['/', { cookie: `_modal_connect_token=${each}` }],
        ]
      : [['/', {}]];
    for (const [path, headers] of ways) {
      const answer = await fetch(url + path, { headers });
      assert.equal(answer.status, status, `${each} ${path}`);
      if (!(each === 'wrong' && headers.authorization)) assert.match(await answer.text(), says);
      assert.deepEqual(answer.headers.getSetCookie(), []);
      if (status === 401) assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer/);
    }
  }
  assert.equal(heard, 0);
  // What was named in the query decides, whatever cookie there is.
  const both = await fetch(`${url}/?_modal_connect_token=${expired}`, {
    headers: { cookie: `_modal_connect_token=${token}` },
  });
  assert.equal(both.status, 401);
  const stale = `_modal_connect_token=${expired}; _modal_connect_token=${token}`;
  assert.equal(
    (await fetch(url, { headers: { cookie: stale } })).status,
    200,
    'one cookie of several must be good',
  );
});

test("the program's own credentials reach it: another bearer token beside a cookie or a query, and its cookies", async () => {
  await using served = await serveGateway({ program: echo() });
  const { url, token } = served;
  const own = { authorization: 'Bearer eyJhbGciOiJub25lIn0.e30.x' };
  const byQuery = await echoed(await fetch(`${url}/?_modal_connect_token=${token}`, { headers: own }));
  assert.equal(byQuery.headers.authorization, own.authorization);
  const cookie = `_modal_connect_token=${token}; session=1`;
  const byCookie = await echoed(await fetch(url, { headers: { ...own, cookie } }));
  assert.equal(byCookie.headers.authorization, own.authorization);
  assert.equal(byCookie.headers.cookie, 'session=1');
  assert.equal((await fetch(url, { headers: own })).status, 401);
});

test('a cookie is of no use to pages of other sites, but links to the page work', async () => {
  await using served = await serveGateway({ program: echo(), host: 'shared' });
  const { url, port, token } = served;
  const cookie = `_modal_connect_token_${port}=${token}`;
  // Not by `fetch`, which has a mode of its own to tell.
  const ask = async (headers: Record<string, string>, method = 'GET') => {
    const request = http.request({ host: '127.0.0.1', port, method, headers: { cookie, ...headers } }).end();
    const [answer] = await once(request, 'response');
    answer.resume();
    return answer.statusCode;
  };
  const other = `http://127.0.0.1:${port + 1}`;
  for (const headers of [
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
    { 'sec-fetch-site': 'same-site', origin: url },
    { origin: other },
    { origin: 'null' },
  ]) {
    assert.equal(await ask(headers), 403, JSON.stringify(headers));
    assert.equal(await ask(headers, 'POST'), 403);
    const authorization = `Bearer ${token}`;
    assert.equal(await ask({ ...headers, authorization }), 200, 'whoever has a token may use it');
  }
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' };
  assert.equal(await ask(link), 200);
  assert.equal(await ask({ ...link, origin: other }, 'POST'), 403);
  for (const headers of [
    {},
    { 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-site': 'none' },
    { origin: url },
  ]) {
    assert.equal(await ask(headers), 200);
    assert.equal(await ask(headers, 'POST'), 200);
  }
});

test('what a page loads tells the program where from, without the token', async () => {
  await using served = await serveGateway({ program: echo() });
  const { url, token } = served;
  const headers = {
    cookie: `_modal_connect_token=${token}`,
    referer: `${url}/page?_modal_connect_token=${token}&x=1#y`,
  };
  const told = await echoed(await fetch(`${url}/style.css`, { headers }));
  assert.equal(told.headers.referer, `${url}/page?x=1#y`);
});

test('the metadata of the token, and nothing from outside, is what the program hears of the user', async () => {
  const userMetadata = '{"user_id": "Zoë"}';
  await using served = await serveGateway({ program: echo(), userMetadata });
  const forged = {
    'X-Verified-User-Data': 'admin',
    x_verified_user_data: 'admin',
    'X-Verified_User-data': 'admin',
    'X-Forwarded-For': '10.0.0.1',
    x_forwarded_proto: 'https',
    Forwarded: 'for=10.0.0.1',
  };
  const headers = { ...forged, ...served.bearer, connection: 'X-Verified-User-Data' };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const answer = await served.raw(
    `GET / HTTP/1.1\r\nHost: a.test\r\n${lines.join('')}connection: close\r\n\r\n`,
  );
  const told = JSON.parse(
    /\{"method.*\}/s.exec(Buffer.from(answer, 'latin1').toString())?.[0] ?? '',
  ) as Echoed;
  const fields = Object.groupBy(
    told.rawHeaders.flatMap((name, at) => (at % 2 ? [] : [{ name, value: told.rawHeaders[at + 1] ?? '' }])),
    ({ name }) => name.toLowerCase().replaceAll('_', '-'),
  );
  const values = (name: string) => fields[name]?.map(({ value }) => value);
  assert.deepEqual(values('x-verified-user-data'), [Buffer.from(userMetadata).toString('latin1')]);
  assert.deepEqual(values('x-forwarded-for'), ['127.0.0.1']);
  assert.deepEqual(values('x-forwarded-proto'), ['http']);
  assert.deepEqual(values('x-forwarded-host'), ['a.test']);
  assert.equal(values('forwarded'), undefined);

  await using plain = await serveGateway({ program: echo() });
  const without = await echoed(
    await fetch(plain.url, { headers: { ...plain.bearer, 'X-Verified-User-Data': 'x' } }),
  );
  assert.equal(without.headers['x-verified-user-data'], undefined);
});

test('over HTTP/2 it is the same: token, cookies in pieces, metadata', async () => {
  await using served = await serveGateway({ program: echo(), userMetadata: 'me' });
  const session = http2.connect(served.url);
  const ask = async (headers: http2.OutgoingHttpHeaders) => {
    const stream = session.request({ ':path': '/x?_a=1', ...headers });
    let status: number | undefined;
    stream.once('response', (answer) => {
      status = answer[':status'];
    });
    const body = await text(stream);
    return { status, body };
  };
  assert.equal((await ask({})).status, 401);
  const { body } = await ask({
    cookie: ['a=1', `_modal_connect_token=${served.token}`, 'b=2'],
    'x-verified-user-data': 'root',
  });
  const told = JSON.parse(body) as Echoed;
  assert.equal(told.headers.cookie, 'a=1; b=2');
  assert.equal(told.headers['x-verified-user-data'], 'me');
  assert.equal(told.headers.host, `127.0.0.1:${served.port}`);
  session.close();
});

test('no token is in the log, whatever fails', async () => {
  await using served = await serveGateway({ program: undefined });
  const { url, token, bearer } = served;
  assert.equal((await fetch(`${url}/?_modal_connect_token=${token}`)).status, 502);
  assert.equal((await fetch(url, { headers: bearer })).status, 502);
  assert.equal((await fetch(`${url}/?_modal_connect_token=${token}x`)).status, 401);
  assert.equal(served.log.length, 3);
  assert.doesNotMatch(served.log.join(''), /sct_/);
});
