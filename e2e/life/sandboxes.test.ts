/** Sandboxes from their creation to their end, their names and tags, through the three official clients. */
import { after, before, describe, test } from 'node:test';
import { goExample } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

describe('sandboxes', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
  });
  after(() => server?.stop());

  test('how they start and end', (t) => pythonCases(t, server, 'ends'));
  test('how they are found', (t) => pythonCases(t, server, 'names'));
  test('the same in JavaScript', (t) => jsCases(t, server, 'life'));
  test('the same in Go', { skip: goExample() === undefined ? 'no Go toolchain' : false }, (t) =>
    goCases(t, server),
  );
});
