/** Dockerfiles of strangers use what BuildKit added: mounts of RUN, heredocs, flags of COPY. Through the official Python client. */
import { after, before, describe, test } from 'node:test';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

describe('dockerfiles', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('what BuildKit added', (t) => pythonCases(t, server, 'dockerfile', { timeoutMs: 400_000 }));
});
