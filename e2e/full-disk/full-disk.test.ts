/**
 * One sandbox takes all the room of the data directory, while a program with the official client goes on working: what can be done is done, what cannot
 * says why, what must end ends, and when there is room again everything goes on, with nothing left over.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { ImagePlaces } from '../../server/src/images/image-places.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { type Driver, startDriver } from '../support/driver.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { makeSmallDisk, noSmallDisk, type SmallDisk } from '../support/small-disk.ts';

const MIB = 2 ** 20;
/** The images of most tests take some 250 of it. */
const DISK_MIB = 600;
/** How much of the disk is left when a call comes: from nothing over some of what it needs to enough to begin with. Fewer under gVisor: most of what a call does is the server's. */
const ROOMS = { runc: [0, 4096, 16_384, 65_536, MIB, 8 * MIB], gvisor: [0, 16_384, 8 * MIB] };
const CALLS = ['execute', 'create', 'snapshot', 'build'];
/** What the sandboxes, images and errors of a full disk say. */
const TRUE_REASON = /out of disk space|No space left on device/;
const LINES = 20_000;
/** Longer than the time between two sweeps of the server. */
const PATIENCE_MS = patient(90_000);

interface Outcome {
  readonly ok?: boolean;
  readonly value?: unknown;
  readonly error?: string;
}

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a data directory that one sandbox fills, under ${runtime}`, { skip: skip || noSmallDisk }, () => {
    let scratch: string;
    let disk: SmallDisk;
    let dataDir: string;
    let server: TestServer;
    let driver: Driver;
    let stopped = false;

    before(async () => {
      scratch = mkdtempSync(join(tmpdir(), 'full-disk-'));
      disk = await makeSmallDisk(DISK_MIB * MIB);
      dataDir = join(disk.path, 'data');
      mkdirSync(dataDir);
      // With disks of their own no sandbox could: `shared-disk.test.ts`.
      const flags = ['--disk-limits', 'off'];
      const logFile = join(scratch, 'server.log');
      server = await startServer({ runtime, dataDir, flags, logFile });
      driver = startDriver(server, 'e2e/full-disk/driver.py');
      await driver.expect('ready');
    });
    after(async () => {
      await driver?.[Symbol.asyncDispose]();
      if (!stopped) await server?.stop();
      await disk?.[Symbol.asyncDispose]();
      rmSync(scratch, { recursive: true, force: true });
    });

    const ask = async (what: string, ...given: (string | number)[]): Promise<Outcome> => {
      driver.send(JSON.stringify({ do: what, with: given }));
      return driver.expect('done');
    };
    const done = async (what: string, ...given: (string | number)[]): Promise<unknown> => {
      const outcome = await ask(what, ...given);
      assert.ok(outcome.ok, `${what}: ${outcome.error}`);
      return outcome.value;
    };
    const begin = async (what: string, ...given: (string | number)[]): Promise<void> => {
      driver.send(JSON.stringify({ do: what, with: given, key: what }));
      await driver.expect('begun');
    };
    const joined = async (what: string): Promise<Outcome> => {
      driver.send(JSON.stringify({ do: 'join', key: what }));
      return driver.expect('done');
    };
    const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
      const end = performance.now() + PATIENCE_MS;
      while (!(await holds())) {
        assert.ok(performance.now() < end, `never ${what}`);
        await delay(50);
      }
    };
    let orders = 0;
    const order = async (what: 'fill' | 'leave' | 'free', bytes = 0): Promise<() => Promise<void>> => {
      const mark = `done-${++orders}`;
      await done('filler', what, orders, bytes);
      return () =>
        until(`${what} was done`, () => instances().some((dir) => existsSync(join(dir, 'upper', mark))));
    };
    const fill = async (left = 0): Promise<void> => {
      await (await order('fill'))();
      if (left > 0) await (await order('leave', left))();
      else assert.ok(disk.isFull());
    };
    const free = async (): Promise<void> => (await order('free'))();
    const saysWhy = ({ ok, error }: Outcome, what: string): void => {
      if (!ok) assert.match(error ?? '', TRUE_REASON, what);
    };
    const answers = async (): Promise<boolean> => (await fetch(`${server.url}/healthz`)).ok;

    test('each call does its work or says why, however little room there is', async () => {
      const { pid } = server;
      for (const room of ROOMS[runtime]) {
        for (const call of CALLS) {
          await fill(room);
          saysWhy(await ask(call), `${call} with ${room} bytes free`);
        }
      }
      assert.ok(await answers());
      assert.equal(server.pid, pid, 'the server never ended');
      await free();
      await done('read');
    });

    for (const call of CALLS) {
      test(`${call}: the room ends while it goes on`, async () => {
        await free();
        await begin(call);
        await order('fill');
        saysWhy(await joined(call), call);
        assert.ok(await answers());
        await free();
        await done('read');
        await done(call);
        await done('read');
      });
    }

    test('on a full disk sandboxes are terminated and end at their timeouts; a program whose output finds no room waits', async () => {
      const before = instances().length;
      await done('make', 'victim');
      await done('make', 'timed', 10);
      await done('begin_printing');
      await fill();
      await done('go_on_printing', LINES);
      await done('terminate', 'victim');
      assert.match((await ask('wait', 'timed')).error ?? '', /^SandboxTimeoutError/);
      await until('nothing of them left', () => instances().length === before);
    });

    test('a server that is killed on the full disk comes back to what runs', async () => {
      await server.kill9();
      await server.restart();
      saysWhy(await ask('execute'), 'execute after the restart');
    });

    test('with room again everything goes on, and nothing is left over', async () => {
      await free();
      await done('end_printing', LINES);
      await done('read');
      for (const call of CALLS) await done(call);
      await done('read');
      await until('only what runs left', () => instances().length === 2);
      assert.deepEqual(readdirSync(ImagePlaces.in(dataDir).temporary), []);
    });

    // The sweep's time is the same under every runtime, and so is what it does.
    test('sandboxes that ended are forgotten', { skip: runtime !== 'runc' }, async () => {
      const id = String(await done('make', 'old'));
      await done('terminate', 'old');
      await server.terminate();
      const output = makeOld(id);
      await server.restart();
      await fill();
      await until('its output removed', () => !existsSync(output));
      assert.ok(await answers());
      await free();
      await until('it forgotten', async () => (await done('is_gone', id)) === true);
    });

    test('it can be taken down', async () => {
      await fill();
      stopped = true;
      await server.stop(); // finds that nothing is left on the machine
      assert.equal(existsSync(join(dataDir, 'instances')), false);
    });

    /** Where the sandboxes have their files. */
    function instances(): string[] {
      const place = join(dataDir, 'instances');
      return readdirSync(place).map((name) => join(place, name));
    }

    /** Says in the store, while no server runs, that it ended long ago. Returns where its output is. */
    function makeOld(id: string): string {
      const store = new DatabaseSync(join(dataDir, 'skerry.db'));
      try {
        store.prepare('UPDATE sandboxes SET ended_at_ms = 1 WHERE id = ?').run(id);
        const task = store.prepare('SELECT task_id FROM sandboxes WHERE id = ?').get(id)?.task_id;
        return join(dataDir, 'output', String(task));
      } finally {
        store.close();
      }
    }
  });
}
