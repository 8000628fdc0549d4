/** Processes in sandboxes through the official Python client: exec and its options, output, input. */
import { after, before, describe, test } from 'node:test';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

describe('processes', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('exec', (t) => pythonCases(t, server, 'exec'));
  test('output and input', (t) => pythonCases(t, server, 'streams'));
});
