/** The official `modal` command, as far as it concerns sandboxes. */
import { after, before, describe, test } from 'node:test';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

describe('the official command line', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('apps, containers, secrets, environments, shells', (t) => pythonCases(t, server, 'command_line'));
});
