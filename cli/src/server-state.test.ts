import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findRunningServer, readToken, requireRunningServer, writeServerState } from './server-state.ts';

describe('the state of a data directory', () => {
  let dataDir: string;
  before(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'state-test-'));
  });
  after(() => rmSync(dataDir, { recursive: true, force: true }));

  const state = {
    ready: true as const,
    url: 'http://127.0.0.1:7423',
    serverPid: 1,
    instance: '0123abcd',
    version: '0.1.0',
    flags: [],
    startedAt: '2026-01-01T00:00:00.000Z',
  };

  test('a process that is not a server does not count, even when the id is in use', () => {
    writeServerState(dataDir, { ...state, pid: process.pid });
    assert.equal(findRunningServer(dataDir), undefined);
    assert.throws(() => requireRunningServer(dataDir), { exitStatus: 3, message: /skerry up/ });
  });

  test('a state file that is damaged counts as none', () => {
    writeFileSync(join(dataDir, 'server.json'), '{"pid": "x"');
    assert.equal(findRunningServer(dataDir), undefined);
  });

  test('a token file that is missing or not one is reported with its path', () => {
    assert.throws(() => readToken(dataDir), { message: /token\.json is missing/ });
    writeFileSync(join(dataDir, 'token.json'), '{"tokenId": 1}');
    assert.throws(() => readToken(dataDir), { message: /not a token file/ });
  });
});
