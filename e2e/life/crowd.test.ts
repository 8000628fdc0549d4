/** A thousand creates at once on a server that may run a tenth of them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

/** More than a page of a list, which is 100. */
const MAX_SANDBOXES = 102;

describe('a crowd', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc', flags: ['--max-sandboxes', String(MAX_SANDBOXES)] });
  });
  after(() => server?.stop());

  test('creates beyond the bound are refused, the rest run, and the server goes on', async (t) => {
    const { pid } = server;
    await pythonCases(t, server, 'crowd', { env: { LIFE_MAX_SANDBOXES: String(MAX_SANDBOXES) } });
    assert.doesNotThrow(() => process.kill(pid, 0), 'the server is another process, or gone');
  });
});
