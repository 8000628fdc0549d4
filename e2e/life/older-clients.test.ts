/** The same core cases through every Python client that is supported. Up to 1.3.1 exec goes through the older container RPCs. */
import { after, before, describe, test } from 'node:test';
import { CURRENT_PYTHON_CLIENT, pythonWith } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

describe('Python clients, older and current', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  for (const version of ['1.0.5', '1.3.0', '1.3.5', '1.5.5', CURRENT_PYTHON_CLIENT]) {
    // Only the current client can read logs, which older ones make.
    const env = { LIFE_CURRENT_PYTHON: pythonWith(), PYTHONWARNINGS: 'ignore' };
    test(version, (t) => pythonCases(t, server, 'core', { version, env }));
  }
});
