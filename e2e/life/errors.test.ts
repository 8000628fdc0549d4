/** Which error a mistake becomes in each of the official clients, and in which words: programs look at both. */
import { after, before, describe, test } from 'node:test';
import { startServer, type TestServer } from '../support/server.ts';
import { jsCases, pythonCases } from './support/cases.ts';

describe('errors', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('in Python', (t) => pythonCases(t, server, 'errors'));
  test('in JavaScript', (t) => jsCases(t, server, 'errors'));
});
