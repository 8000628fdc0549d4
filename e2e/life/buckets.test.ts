/** Buckets of a real S3 server in sandboxes, through the official clients. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { goExample } from '../support/clients.ts';
import { type ObjectStore, startObjectStore, withoutObjectStore } from '../support/object-store.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const noProgram = findProgram('s3fs') ? false : 'no s3fs';
const noStore = noProgram || withoutObjectStore();

/** What needs no store. */
describe('buckets that there are not', { skip: noProgram }, () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'auto' });
  });
  after(() => server?.stop()); // asserts that nothing of them is left on the machine

  test('in Python', (t) =>
    pythonCases(t, server, 'buckets', {
      env: {
        LIFE_ENDPOINT: 'http://192.0.2.1',
        LIFE_BUCKETS: '/nowhere',
        ...prefixed({ AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' }),
      },
      only: ['what_is_no_bucket_is_refused', 'what_is_out_of_reach_ends_the_sandbox_with_the_reason'],
    }));
});

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`buckets under ${runtime}`, { skip: skip || noStore }, () => {
    let server: TestServer;
    let store: ObjectStore;
    let options: { env: Record<string, string> };
    before(async () => {
      store = await startObjectStore(['first', 'second', 'public']);
      server = await startServer({ runtime, flags: ['--allow-private', store.network] });
      options = {
        env: { LIFE_ENDPOINT: store.endpoint, LIFE_BUCKETS: store.directory, ...prefixed(store.keys) },
      };
    });
    after(async () => {
      await server?.stop(); // asserts that nothing of them is left on the machine
      await store?.[Symbol.asyncDispose]();
    });

    test('in Python', (t) =>
      pythonCases(t, server, 'buckets', { env: { ...options.env, LIFE_RUNTIME: runtime } }));
    if (runtime === 'runc') {
      for (const version of ['1.0.5', '1.3.5', '1.5.5']) {
        test(`in Python, client ${version}`, (t) =>
          pythonCases(t, server, 'buckets', {
            env: { ...options.env, PYTHONWARNINGS: 'ignore' },
            version,
            only: ['nothing_above_the_prefix_is_seen', 'a_prefix_that_nothing_has_yet_is_an_empty_directory'],
          }));
      }
    }
    test('in JavaScript', (t) => jsCases(t, server, 'buckets', options));
    test('in Go', { skip: goExample() === undefined ? 'no Go toolchain' : false }, (t) =>
      goCases(t, server, options),
    );

    test('`skerry doctor` says that buckets can be mounted', async () => {
      const flags = ['doctor', '--json', '--data-dir', server.dataDir];
      const { stdout } = await run([process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...flags], {
        okCodes: [1],
      });
      const checks: { name: string; ok: boolean; found: string }[] = JSON.parse(stdout);
      const { ok, found } = checks.find(({ name }) => name === 'bucket mounts') ?? {};
      assert.deepEqual({ ok, found }, { ok: true, found: 'through s3fs' });
    });

    test('over a crash of the server', async (t) => {
      await pythonCases(t, server, 'bucket_restart', { ...options, only: ['before_the_restart'] });
      await t.test('the program that mounts has no rights', () => assertNoRights('/restart'));
      await server.kill9();
      await server.restart();
      await pythonCases(t, server, 'bucket_restart', { ...options, only: ['after_the_restart'] });
    });

    test('the keys are in no log and, in clear, in no database', () => {
      const database = ['', '-wal'].map((end) => readFileSync(`${server.dataDir}/skerry.db${end}`, 'latin1'));
      const told = [server.log(), ...database].some((text) =>
        text.includes(store.keys.AWS_SECRET_ACCESS_KEY),
      );
      assert.ok(!told);
    });

    test('a server that is killed while it mounts goes on with it, or begins anew', async (t) => {
      store.freeze();
      try {
        await pythonCases(t, server, 'bucket_restart', { ...options, only: ['begin_to_mount'] });
        await until(() => mountersOf('/mounting').length > 0);
        await server.kill9();
        await server.restart();
      } finally {
        store.thaw();
      }
      await pythonCases(t, server, 'bucket_restart', { ...options, only: ['end_what_mounts'] });
      await until(() => mountersOf('/mounting').length === 0);
    });

    test('a store that stops to answer holds up no end of a sandbox', async (t) => {
      await pythonCases(t, server, 'bucket_restart', { ...options, only: ['begin_to_wait'] });
      store.freeze();
      try {
        await pythonCases(t, server, 'bucket_restart', { ...options, only: ['end_what_waits'] });
      } finally {
        store.thaw();
      }
    });
  });
}

/** The programs of buckets that are mounted with that prefix. */
const mountersOf = (prefix: string): string[] =>
  readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      return words[0]?.endsWith('/s3fs') === true && words.includes(prefix);
    } catch {
      return false; // it ended
    }
  });

/** Looks at the program of the one bucket that is mounted with that prefix, as the machine's root sees it. */
function assertNoRights(prefix: string): void {
  const pids = mountersOf(prefix);
  assert.equal(pids.length, 1);
  const of = `/proc/${pids[0]}`;
  const status = readFileSync(`${of}/status`, 'utf8');
  for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
    assert.match(status, new RegExp(`^Cap${set}:\\s+0+$`, 'm'));
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.match(status, /^Groups:\s*$/m);
  for (const kind of ['Uid', 'Gid'])
    assert.match(status, new RegExp(`^${kind}:\\s+(\\d{9,})\\s+\\1\\s+\\1\\s+\\1$`, 'm'));
  for (const kind of ['mnt', 'net', 'pid', 'ipc', 'uts', 'user'])
    assert.notEqual(readlinkSync(`${of}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`));
  const nested = spawnSync('nsenter', ['--user', `--target=${pids[0]}`, 'unshare', '--user', 'true']);
  assert.notEqual(nested.status, 0, 'it can have a user namespace with rights of its own');
  const seen = ['etc/shadow', 'root', 'home', 'var', 'run', 'proc', 'sys', 'dev/fuse', 'dev/mem'];
  assert.deepEqual(
    seen.filter((path) => existsSync(`${of}/root/${path}`)),
    [],
  );
}

/** Waits for what is not told. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + patient(60_000);
  while (!condition()) {
    assert.ok(Date.now() < deadline, 'it did not come about');
    await delay(100);
  }
}

function prefixed(keys: ObjectStore['keys']): Record<string, string> {
  return Object.fromEntries(Object.entries(keys).map(([name, value]) => [`LIFE_${name}`, value]));
}
