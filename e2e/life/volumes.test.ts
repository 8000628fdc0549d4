/** Volumes and their files through the official clients. */
import { after, before, describe, test } from 'node:test';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

describe('volumes', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('their files, in Python', (t) => pythonCases(t, server, 'volume_files'));
});
