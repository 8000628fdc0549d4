import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { clientEnvironment, formatEnvironment } from './environment.ts';

const token = { tokenId: 'ak-1', tokenSecret: 'as-2', apiKey: 'sk-3' };
const server = 'http://127.0.0.1:7423';

describe('the variables for clients', () => {
  test('has what the Modal clients and Modbox read', () => {
    assert.deepEqual(clientEnvironment(server, token, {}), {
      MODAL_SERVER_URL: 'http://127.0.0.1:7423',
      MODAL_TOKEN_ID: 'ak-1',
      MODAL_TOKEN_SECRET: 'as-2',
      MODBOX_API_URL: 'http://127.0.0.1:7423',
      MODBOX_API_TOKEN: 'ak-1:as-2',
      SANDBOX_API_KEY: 'sk-3',
    });
  });

  test('keeps the Python client from using a proxy for this machine', () => {
    assert.equal(clientEnvironment(server, token, { https_proxy: 'http://p' }).MODAL_DISABLE_API_PROXY, '1');
    assert.equal(clientEnvironment(server, token, { HTTP_PROXY: 'http://p' }).MODAL_DISABLE_API_PROXY, '1');
  });

  test('prints shell code that a shell reads back as the same values', async () => {
    const variables = { PLAIN: 'ak-1', HOSTILE: `a'b"c $(touch /tmp/x) \`id\` \\ ;\nend` };
    const script = `${formatEnvironment(variables, 'sh')}printf '%s|%s' "$PLAIN" "$HOSTILE"`;
    assert.equal((await run(['sh', '-c', script])).stdout, `${variables.PLAIN}|${variables.HOSTILE}`);
  });

  test('prints JSON and dotenv', () => {
    assert.deepEqual(JSON.parse(formatEnvironment({ A: 'x y' }, 'json')), { A: 'x y' });
    assert.equal(formatEnvironment({ A: 'x y' }, 'dotenv'), 'A="x y"\n');
  });
});
