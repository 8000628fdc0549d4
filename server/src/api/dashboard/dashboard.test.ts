/** Sessions of the dashboard, and what a browser would do with what they give. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../modbox/testing/api-server.ts';

describe('the dashboard', () => {
  let api: ApiServer;
  before(async () => {
    api = await ApiServer.start();
  });
  after(() => api[Symbol.asyncDispose]());

  interface Session {
    readonly cookie: string;
    readonly 'x-skerry-session': string;
  }

  async function signIn(token = api.token): Promise<Session> {
    const answer = await api.call('POST', '/dashboard/session', { key: null, body: { token } });
    assert.equal(answer.status, 200, answer.text);
    const [cookie = ''] = answer.headers.getSetCookie();
    assert.match(
      cookie,
      /^skerry-01234567=[\w-]+; Path=\/dashboard\/; Max-Age=604800; HttpOnly; SameSite=Strict$/,
    );
    const { key, tokenId } = JSON.parse(answer.text);
    assert.equal(tokenId, token.split(':')[0]);
    return { cookie: cookie.split(';')[0] ?? '', 'x-skerry-session': key };
  }

  const ask = (
    method: string,
    path: string,
    headers: Partial<Session> & Record<string, string>,
    body?: object,
  ) => api.call(method, path, { key: null, headers, ...(body && { body }) });

  test('a session needs both halves, and only calls of its own page count', async () => {
    const session = await signIn();
    const list = '/dashboard/api/v1/sandboxes';
    assert.equal((await ask('GET', list, { ...session })).status, 200);
    assert.equal((await ask('GET', list, { ...session, 'sec-fetch-site': 'same-origin' })).status, 200);

    // A tunnel at another port of this host gets the cookie too, and has nothing of it.
    const { cookie, 'x-skerry-session': key } = session;
    assert.equal((await ask('GET', list, { cookie })).status, 401);
    assert.equal((await ask('GET', list, { cookie, 'x-skerry-session': `${key}x` })).status, 401);
    assert.equal((await ask('GET', list, { 'x-skerry-session': key })).status, 401);
    const other = await signIn();
    assert.equal(
      (await ask('GET', list, { cookie, 'x-skerry-session': other['x-skerry-session'] })).status,
      401,
    );
    for (const site of ['same-site', 'cross-site', 'none']) {
      assert.equal((await ask('GET', list, { ...session, 'sec-fetch-site': site })).status, 403, site);
      const headers = { 'sec-fetch-site': site };
      const body = { token: api.token };
      assert.equal((await ask('POST', '/dashboard/session', headers, body)).status, 403, site);
    }
    // The interface itself knows no cookies.
    assert.equal((await ask('GET', '/v1/sandboxes', { ...session })).status, 401);
  });

  test('a token that is none signs nobody in, and one that goes takes its sessions along', async () => {
    const body = { token: `${api.token}0` };
    const refused = await api.call('POST', '/dashboard/session', { key: null, body });
    assert.equal(refused.status, 401);
    assert.deepEqual(refused.headers.getSetCookie(), []);

    const { tokenId, bearer } = api.issue('read');
    const session = await signIn(bearer);
    assert.equal((await ask('GET', '/dashboard/api/v1/sandboxes', { ...session })).status, 200);
    api.tokens.revoke(tokenId);
    assert.equal((await ask('GET', '/dashboard/api/v1/sandboxes', { ...session })).status, 401);
  });

  test('a file of a sandbox is an attachment that runs nowhere, downloaded by a ticket that is of no use to others', async () => {
    const base = await api.sandbox('html');
    const { id } = api.of('html');
    const hostile = '<script>fetch("/dashboard/api/v1/sandboxes")</script>';
    const written = await api.call('PUT', `${base}/files?path=/tmp/a.html`, { raw: hostile });
    assert.equal(written.status, 200, written.text);
    const session = await signIn();
    const path = `/v1/sandboxes/${id}/files?path=/tmp/a.html`;

    const given = await ask('POST', '/dashboard/downloads', { ...session }, { path, name: 'a "\n/é.html' });
    const { url } = JSON.parse(given.text);
    const { cookie } = session;
    const file = await ask('GET', url, { cookie });
    assert.equal(file.text, hostile);
    const headersOf = ({ headers }: { readonly headers: Headers }) =>
      ['content-type', 'content-disposition', 'content-security-policy', 'x-content-type-options'].map(
        (name) => headers.get(name),
      );
    const policy = "sandbox; default-src 'none'; frame-ancestors 'none'";
    const disposition = "attachment; filename*=UTF-8''a%20%22__%C3%A9.html";
    assert.deepEqual(headersOf(file), ['application/octet-stream', disposition, policy, 'nosniff']);
    const asked = await ask('GET', `/dashboard/api${path}`, { ...session });
    assert.deepEqual(headersOf(asked), ['application/octet-stream', 'attachment', policy, 'nosniff']);

    assert.equal((await ask('GET', url, {})).status, 401);
    assert.equal((await ask('GET', url, { cookie: (await signIn()).cookie })).status, 401);
    assert.equal((await ask('GET', url, { cookie, 'sec-fetch-site': 'same-site' })).status, 403);
    assert.equal((await ask('GET', `${url.slice(0, -4)}AAAA`, { cookie })).status, 401);
    assert.equal((await ask('POST', '/dashboard/downloads', { cookie }, { path, name: 'a' })).status, 401);
  });

  test('reaches the interfaces alone, and says where there is no page', async () => {
    const session = await signIn();
    for (const path of [
      '/dashboard/api/modbox/v1/sandboxes',
      '/dashboard/api/',
      '/dashboard/api/dashboard/session',
    ])
      assert.equal((await ask('GET', path, { ...session })).status, 404, path);
    const page = await api.call('GET', '/', { key: null });
    assert.equal(page.status, 404);
    assert.match(page.text, /npm run setup/);
    assert.equal((await api.call('GET', '/elsewhere', { key: null })).status, 404);
    const ended = await ask('DELETE', '/dashboard/session', {});
    assert.match(ended.headers.getSetCookie()[0] ?? '', /^skerry-01234567=; Path=\/dashboard\/; Max-Age=0/);
  });
});
