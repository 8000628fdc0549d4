/** Connect tokens through the official JavaScript client. See `python/connect.py`. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { raised, run, running } from './harness.mjs';

const server = readFileSync(new URL('../support/web_server.py', import.meta.url), 'utf8');
const serving = (use) => running({ command: ['python3', '-c', server, '127.0.0.1', '8080'] }, use);
const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` } });

await run({
  async 'a connect token opens a port'() {
    await serving(async (sandbox) => {
      const userMetadata = JSON.stringify({ user: 'foo' });
      const { url, token } = await sandbox.createConnectToken({ userMetadata });
      const answer = await fetch(`${url}/a?b`, bearer(token));
      assert.equal(answer.status, 200);
      const { path, headers } = await answer.json();
      assert.equal(path, '/a?b');
      assert.equal(Object.fromEntries(headers)['X-Verified-User-Data'], userMetadata);
      assert.equal((await fetch(url)).status, 401);
      const other = await sandbox.createConnectToken({ port: 9000 });
      assert.equal((await fetch(url, bearer(other.token))).status, 403);
      await raised('ClientError', () => sandbox.createConnectToken({ userMetadata: 'x'.repeat(512) }));
      await raised('InvalidError', () => sandbox.createConnectToken({ port: 70_000 }));
    });
  },

  async 'a websocket of a browser passes'() {
    await serving(async (sandbox) => {
      const { url, token } = await sandbox.createConnectToken({ userMetadata: 'me' });
      const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/?_modal_connect_token=${token}`);
      const heard = [];
      await new Promise((resolve, reject) => {
        socket.addEventListener('error', reject);
        socket.addEventListener('close', resolve);
        socket.addEventListener('message', ({ data }) => {
          heard.push(data);
          if (heard.length === 3) socket.close();
          else socket.send(`word ${heard.length} ${'y'.repeat(300)}`);
        });
      });
      const word = (number) => `word ${number} ${'y'.repeat(300)}`;
      assert.deepEqual(heard, ['me', word(1), word(2)]);
    });
  },
});
