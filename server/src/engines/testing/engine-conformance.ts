/**
 * What every engine must do, as one suite that each engine's own test file runs. The suite knows instances only through `engine.ts`; what the
 * harness adds is a way to look at the machine from outside. What an engine that runs strangers' code must do besides is in `engine-isolation.ts`.
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type InstanceId, newInstanceId, newTaskId, newVolumeMountId } from '../../ids.ts';
import { delay } from '../../platform/wait.ts';
import type { Instance, RuntimeName } from '../engine.ts';
import { GUEST_AGENT, GUEST_FS_TOOLS, GUEST_RUN_DIR } from '../paths.ts';
import type { ContentPlaces } from '../references.ts';
import { engineBinding } from './engine-binding.ts';
import { engineCheckpoints } from './engine-checkpoints.ts';
import { engineCopies } from './engine-copies.ts';
import { engineDevices } from './engine-devices.ts';
import { engineDisk } from './engine-disk.ts';
import { enginePorts } from './engine-ports.ts';
import { type EngineHarness, EngineSuite, GROUP_TIMEOUT_MS, signal, type TestSpec } from './engine-suite.ts';
import { runInGuest, shell } from './guest.ts';
import { TestContent } from './test-content.ts';

/**
 * Registers the suite with node:test. `open` is called once.
 * @param promises what this engine promises beyond what all do: `engineIsolation`, or nothing
 */
export function engineConformance<Harness extends EngineHarness>(
  runtime: RuntimeName,
  open: (content: ContentPlaces) => Promise<Harness>,
  skip: string | false,
  promises?: (suite: () => EngineSuite<Harness>) => void,
): void {
  describe(`engine conformance: ${runtime}`, { skip }, () => {
    let suite: EngineSuite<Harness>;
    before(async () => {
      suite = await EngineSuite.open(runtime, open);
    });
    after(() => suite?.[Symbol.asyncDispose]());
    const create = (spec?: Partial<TestSpec>) => suite.create(spec);
    const destroy = (instance: Instance) => suite.destroy(instance);
    const using = <T>(spec: Partial<TestSpec>, use: (instance: Instance) => Promise<T>) =>
      suite.using(spec, use);

    describe('a running instance', { timeout: GROUP_TIMEOUT_MS }, () => {
      let instance: Instance;
      before(async () => {
        instance = await create();
      });
      after(() => destroy(instance));

      it('says which runtime it is, also before', () => {
        assert.equal(instance.runtime, runtime);
        assert.equal(suite.harness.engine.runtimeFor(runtime), runtime);
        assert.equal(instance.isolation, suite.harness.engine.isolationUnder(runtime));
      });

      it('runs programs with input, both outputs and exit codes', async () => {
        const result = await runInGuest(instance, ['sh', '-c', 'cat; echo problem >&2; exit 7'], {
          stdin: 'hello',
        });
        assert.deepEqual(result, { code: 7, stdout: 'hello', stderr: 'problem\n' });
      });

      it('is root with the hostname, in a filesystem that can be written to', async () => {
        assert.equal(
          await shell(instance, 'id -u; hostname; cat /etc/hostname; echo x > /x && cat /x'),
          '0\nsandbox\nsandbox\nx',
        );
      });

      it('lets users other than root run', async () => {
        assert.equal(
          await shell(instance, 'id -u; touch /tmp/mine && stat -c %u /tmp/mine', { user: 'user' }),
          '1000\n1000',
        );
        await assert.rejects(shell(instance, `ls ${GUEST_RUN_DIR}`, { user: 'user' }), /denied/);
      });

      it('shows the agent under both names, read-only, its directory included', async () => {
        await shell(instance, `test -x ${GUEST_AGENT} && test -x ${GUEST_FS_TOOLS}`);
        await assert.rejects(shell(instance, `rm ${GUEST_AGENT}`), /Read-only/);
        await assert.rejects(shell(instance, `rm ${GUEST_RUN_DIR}/agent.sock`), /Read-only/);
      });

      it('has the devices, shared memory and temporary directory programs expect', async () => {
        await shell(
          instance,
          'echo x > /dev/null; head -c1 /dev/zero | wc -c; head -c1 /dev/urandom | wc -c; echo x > /dev/shm/x; test -c /dev/ptmx; test -d /dev/pts; test -d /proc/self/fd',
        );
        assert.equal(await shell(instance, 'stat -c %a /tmp'), '1777');
      });

      it('reports memory, CPU and processes', async () => {
        await shell(instance, 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done');
        const stats = await instance.stats();
        assert.ok(stats.memoryBytes > 0 && stats.memoryBytes < 256 * 2 ** 20);
        assert.ok(stats.cpuUsageNs > 1e6);
        assert.ok(stats.pids >= 1);
        assert.equal(stats.oomKills, 0);
      });

      it('takes many processes at once', async () => {
        const numbers = Array.from({ length: 12 }, (_, i) => String(i));
        const results = await Promise.all(numbers.map((n) => shell(instance, `echo ${n}`)));
        assert.deepEqual(results, numbers);
      });
    });

    describe('files', () => {
      const change =
        'echo new > /data/new.txt; rm /data/doomed.txt; echo more >> /data/lower.txt; mkdir /made && echo 1 > /made/1; ln -s new.txt /data/link; rm -rf /root; chmod 700 /data; chown 1000 /data/new.txt; echo t > /tmp/t';
      const look =
        'cat /data/new.txt /data/lower.txt /made/1 /data/link /tmp/t; test ! -e /data/doomed.txt && test ! -e /root && stat -c "%a %u" /data /data/new.txt';
      const seen = 'new\nlower\nmore\n1\nnew\nt\n700 0\n644 1000';

      it('a live commit becomes a layer with all changes and none of our mounts; the instance goes on', async (t) => {
        if (!suite.capabilities.commit) return t.skip('cannot give its files away');
        const target = TestContent.ref('live');
        await using({}, async (instance) => {
          await shell(instance, change);
          await instance.commit(target, { move: false });
          assert.equal(await shell(instance, look), seen);
        });
        await using({ layers: [suite.layer, target] }, async (instance) =>
          assert.equal(await shell(instance, look), seen),
        );
        const made = suite.content.layer(target);
        assert.ok(!(await readdir(made)).includes('__modal'));
        assert.deepEqual(
          (await readdir(join(made, 'etc')).catch(() => [])).filter((name) =>
            /^(hosts|hostname|resolv.conf)$/.test(name),
          ),
          [],
        );
        await rm(made, { recursive: true });
      });

      it('layers mounted while it runs cover, are its own to change, become a layer, and uncover', async (t) => {
        const layers = [suite.layer];
        await using({}, async (instance) => {
          if (!suite.harness.engine.capabilities(instance.runtime).mounts)
            return t.skip('cannot mount while it runs');
          await shell(instance, 'mkdir -p /spot/below; echo before > /spot/file');
          for (const path of ['/proc', '/', '/spot/file', '/dev/shm']) {
            await assert.rejects(instance.mount(path, []), { code: 'invalid-argument' });
          }
          await instance.mount('/spot', layers);
          assert.deepEqual(instance.mountedLayers, layers);
          const look = 'cd /spot; test -e bin/busybox && echo layer; cat file 2>/dev/null || true';
          assert.equal(await shell(instance, look), 'layer');
          await shell(instance, 'echo changed > /spot/file');
          await instance.mount('/spot/below', []);
          await shell(instance, 'echo inner > /spot/below/inner');
          const target = TestContent.ref('directory');
          await instance.commitDirectory('/spot', target, {});
          const made = join(suite.directory, target);
          assert.equal(await readFile(join(made, 'file'), 'utf8'), 'changed\n');
          assert.equal(await readFile(join(made, 'below/inner'), 'utf8'), 'inner\n');
          await rm(made, { recursive: true });
          await assert.rejects(instance.commitDirectory('/nowhere', target, {}), { code: 'not-found' });
          await instance.unmount('/spot/below');
          await instance.unmount('/spot');
          assert.equal(await shell(instance, `${look}; ls`), 'before\nbelow\nfile');
          await assert.rejects(instance.unmount('/spot'), { code: 'not-found' });
          assert.deepEqual(instance.mountedLayers, []);
          await instance.mount('/spot', layers); // goes with it
        });
      });

      it('a directory becomes a layer of its own', async (t) => {
        if (!suite.capabilities.commitDirectory) return t.skip('cannot give a directory away');
        await using({}, async (instance) => {
          await shell(instance, change);
          const target = TestContent.ref('only');
          await instance.commitDirectory('/data', target, {});
          const made = join(suite.directory, target);
          assert.deepEqual((await readdir(made)).sort(), ['link', 'lower.txt', 'new.txt']);
          assert.equal(await readFile(join(made, 'lower.txt'), 'utf8'), 'lower\nmore\n');
          await rm(made, { recursive: true });
          await assert.rejects(instance.commitDirectory('/nowhere', target, {}), { code: 'not-found' });
          for (const path of ['/data/link', '/proc'])
            await assert.rejects(instance.commitDirectory(path, target, {}), { code: 'invalid-argument' });
        });
      });

      it('a mount shows what it is filled with; one that fails shows nothing, and a destroy breaks it off', async (t) => {
        await using({}, async (instance) => {
          if (!suite.harness.engine.capabilities(instance.runtime).mounts)
            return t.skip('cannot mount while it runs');
          await instance.mount('/full', [], async (directory) => {
            assert.deepEqual(await readdir(directory), []);
            await writeFile(join(directory, 'file'), 'filled\n');
          });
          assert.equal(await shell(instance, 'cat /full/file'), 'filled');
          const no = new SkerryError('invalid-argument', 'no');
          await assert.rejects(
            instance.mount('/failed', [], () => Promise.reject(no)),
            no,
          );
          assert.equal(await shell(instance, 'test -e /failed || echo none'), 'none');
          const begun = Promise.withResolvers<void>();
          const mounting = instance.mount('/never', [], (_, leaving) => {
            begun.resolve();
            return new Promise((_, reject) =>
              leaving.addEventListener('abort', () => reject(leaving.reason)),
            );
          });
          const broken = assert.rejects(mounting, { code: 'sandbox-ended' });
          await begun.promise;
          await destroy(instance);
          await broken;
        });
      });

      it('a destroy breaks a commit off, of a stopped instance too', async (t) => {
        if (!suite.capabilities.commit) return t.skip('cannot give its files away');
        for (const stopped of [false, true]) await breakOff(stopped);
      });
      it('a destroy breaks a commit of a directory off', async (t) => {
        if (!suite.capabilities.commitDirectory) return t.skip('cannot give a directory away');
        await breakOff(false, '/data');
      });
      const breakOff = async (stopped: boolean, path?: string) => {
        const target = TestContent.ref('broken-off');
        await using({}, async (instance) => {
          await shell(instance, change);
          if (stopped) await instance.stop();
          const commit =
            path === undefined
              ? instance.commit(target, { move: false })
              : instance.commitDirectory(path, target, {});
          const broken = assert.rejects(commit, { code: 'sandbox-ended' });
          await destroy(instance);
          await broken;
        });
        assert.deepEqual(
          (await readdir(suite.directory)).filter((name) => name.includes('broken-off')),
          [],
        );
      };

      it('a stopped instance gives its files away, also when layers changed the same directory twice', async (t) => {
        if (!suite.capabilities.commit) return t.skip('cannot give its files away');
        const first = TestContent.ref('first');
        const second = TestContent.ref('second');
        await using({}, async (instance) => {
          await shell(instance, change);
          await assert.rejects(instance.commit(first, { move: true }), { code: 'conflict' });
          await instance.stop();
          await instance.stop();
          assert.deepEqual(await instance.exited, { reason: 'destroyed' });
          await assert.rejects(instance.dial(signal()), { code: 'sandbox-ended' });
          await instance.commit(first, { move: true });
        });
        await using({ layers: [suite.layer, first] }, async (instance) => {
          await shell(instance, 'rm -rf /made; mkdir /made; mv /data/new.txt /data/renamed.txt');
          await instance.stop();
          await instance.commit(second, { move: true });
        });
        await using({ layers: [suite.layer, first, second] }, async (instance) => {
          assert.equal(await shell(instance, 'ls /made; ls /data'), 'link\nlower.txt\nrenamed.txt');
        });
        for (const layer of [first, second]) await rm(suite.content.layer(layer), { recursive: true });
      });

      it('starts an empty image, and one with very many layers', async () => {
        const empty = TestContent.ref('empty');
        await mkdir(suite.content.layer(empty));
        await using({ layers: [empty] }, async (instance) => {
          await assert.rejects(runInGuest(instance, ['sh']), { code: 'program-not-found' });
        });
        const many = [suite.layer];
        for (let i = 0; i < 120; i++) {
          const layer = TestContent.ref(`a-layer-in-a-directory-with-quite-a-long-name-${i}`);
          await mkdir(suite.content.layer(layer));
          await writeFile(join(suite.content.layer(layer), 'top'), String(i));
          many.push(layer);
        }
        await using({ layers: many }, async (instance) =>
          assert.equal(await shell(instance, 'cat /top'), '119'),
        );
      });

      it('mounts directories, read-only where asked, and refuses bad targets', async (t) => {
        if (!suite.capabilities.tenureMounts) return t.skip('cannot have anything mounted');
        const shared = join(suite.directory, 'shared');
        await mkdir(shared);
        await writeFile(join(shared, 'file'), 'from the host');
        const source = { kind: 'scratch', path: 'shared' } as const;
        const mounts = [
          { source, target: '/mnt/ro', readOnly: true },
          { source, target: '/mnt/rw', readOnly: false },
        ];
        await using({ mounts }, async (instance) => {
          assert.equal(await shell(instance, 'cat /mnt/ro/file'), 'from the host');
          await assert.rejects(shell(instance, 'echo x > /mnt/ro/x'), /Read-only/);
          await shell(instance, 'echo guest > /mnt/rw/guest');
          assert.equal(await shell(instance, 'cat /mnt/rw/file /mnt/rw/guest'), 'from the hostguest');
          // On its own disk, if it has one.
          const written = (await readdir(shared)).includes('guest');
          assert.equal(written, !suite.capabilities.disk);
        });
        for (const target of ['relative', '/a/../../b', '/', '/proc', '/__modal/.bin', '/dev/x']) {
          await assert.rejects(create({ mounts: [{ source, target, readOnly: false }] }), {
            code: 'invalid-argument',
          });
        }
      });

      it('shows what changes from outside in a mount, whatever was looked at before', async (t) => {
        const { tenureMounts, copiedVolumes } = suite.capabilities;
        if (!tenureMounts && !copiedVolumes) return t.skip('cannot have anything mounted');
        const tree = newVolumeMountId();
        const outside = (path: string) => join(suite.directory, tree, 'sub', path);
        await mkdir(outside('dir'), { recursive: true });
        await writeFile(outside('dir/file'), 'old');
        await writeFile(outside('doomed'), 'doomed');
        const mounts = [
          { source: { kind: 'volume', tree, path: 'sub' }, target: '/volume', readOnly: false },
        ] as const;
        const look =
          'cd /volume; cat dir/file; ls . dir; test -e dir/new && cat dir/new; test -e doomed || echo gone; cat other/x 2>/dev/null || true';
        await using({ mounts }, async (instance) => {
          assert.equal(
            await shell(instance, look),
            'old\n.:\ndir\ndoomed\n\ndir:\nfile'.replace('old\n', 'old'),
          );
          await writeFile(outside('temporary'), 'replaced\n');
          await rename(outside('temporary'), outside('dir/file'));
          await writeFile(outside('dir/new'), 'new\n');
          await rm(outside('doomed'));
          await mkdir(outside('other'));
          await writeFile(outside('other/x'), 'x');
          await instance.copies?.deliver(tree, signal());
          assert.equal(
            await shell(instance, look),
            'replaced\n.:\ndir\nother\n\ndir:\nfile\nnew\nnew\ngone\nx',
          );
          await shell(instance, 'echo inside > /volume/dir/inside');
          await instance.copies?.collect(tree, signal());
          assert.equal(await readFile(outside('dir/inside'), 'utf8'), 'inside\n');
        });
      });

      it('rm -rf / in one harms neither the host nor another', async () => {
        const neighbour = await create();
        try {
          await using({}, async (instance) => {
            await runInGuest(instance, ['sh', '-c', 'busybox rm -rf / 2>/dev/null']);
            assert.equal(await shell(neighbour, 'cat /data/lower.txt'), 'lower');
          });
          assert.equal(await shell(neighbour, 'echo fine'), 'fine');
        } finally {
          await destroy(neighbour);
        }
        await stat(join(suite.content.layer(suite.layer), 'data', 'doomed.txt'));
        await using({}, async (instance) =>
          assert.equal(await shell(instance, 'cat /data/doomed.txt'), 'doomed'),
        );
      });
    });

    describe('life', () => {
      it('two instances share nothing', async () => {
        const [one, two] = await Promise.all([create(), create()]);
        try {
          await shell(one, 'echo secret > /tmp/secret; sleep 60 >/dev/null 2>&1 &');
          assert.equal(await shell(two, 'test ! -e /tmp/secret && ps | grep -c "[s]leep 60" || true'), '0');
        } finally {
          await Promise.all([destroy(one), destroy(two)]);
        }
      });

      it('destroy leaves nothing, whatever runs, and can be called again', async () => {
        await destroy(await create()); // what the first one makes for all of them stays
        const traces = await suite.harness.traces();
        const instance = await create();
        assert.notDeepEqual(await suite.harness.traces(), traces);
        await shell(instance, 'for i in 1 2 3; do (trap "" TERM INT HUP; sleep 1000) >/dev/null 2>&1 & done');
        await Promise.all([destroy(instance), destroy(instance)]);
        await destroy(instance);
        assert.deepEqual(await instance.exited, { reason: 'destroyed' });
        await assert.rejects(instance.dial(signal()), { code: 'sandbox-ended' });
        assert.deepEqual(await suite.harness.traces(), traces);
      });

      it('a failed create leaves nothing and says why', async () => {
        const traces = await suite.harness.traces();
        await assert.rejects(
          create(suite.harness.failingSpec),
          (error) => error instanceof SkerryError && error.message.length > 20,
        );
        assert.deepEqual(await suite.harness.traces(), traces);
      });

      it('an aborted create leaves nothing, at whatever moment', async () => {
        const traces = await suite.harness.traces();
        for (const ms of [0, 5, 10, 20, 40, 80]) {
          const abort = new AbortController();
          const started = suite.start(suite.spec(), abort.signal);
          const outcome = started.then(
            (instance) => instance,
            () => undefined,
          );
          await delay(ms);
          abort.abort();
          const made = await outcome;
          if (made) await destroy(made);
        }
        assert.deepEqual(await suite.harness.traces(), traces);
      });

      it('refuses the same id twice', async () => {
        await using({}, async (instance) => {
          await assert.rejects(create({ id: instance.id }), { code: 'already-exists' });
          assert.equal(await shell(instance, 'echo fine'), 'fine');
        });
      });

      it('refuses an allowlist that is none, and leaves nothing', async () => {
        const traces = await suite.harness.traces();
        for (const cidr of ['example.org', '1.2.3.4/33', '::/0', '1.2.3.0/24 }; flush ruleset']) {
          await assert.rejects(create({ network: { kind: 'allowlist', cidrs: [cidr] } }), SkerryError);
        }
        assert.deepEqual(await suite.harness.traces(), traces);
      });

      describe('an instance that joins another', { timeout: GROUP_TIMEOUT_MS }, () => {
        /**
         * Serves one line on a port until the instance ends. gVisor stops the shared kernel to end a container, which interrupts what others wait for, and
         * busybox's nc takes that for an error.
         */
        const serve = (instance: Instance, port: number, text: string) =>
          shell(instance, `(while :; do nc -ll -p ${port} -e echo ${text}; done) >/dev/null 2>&1 &`);
        const fetch = (instance: Instance, port: number) =>
          shell(
            instance,
            `for i in $(seq 50); do nc -w 2 127.0.0.1 ${port} </dev/null 2>/dev/null && exit; sleep 0.1; done; exit 1`,
          );

        it('shares its network, loopback included, and nothing else', async (t) => {
          if (!suite.capabilities.joins) return t.skip('cannot join another');
          await using({ network: { kind: 'blocked' } }, async (main) => {
            await using({ joins: main.id }, async (sidecar) => {
              assert.equal(sidecar.runtime, runtime);
              await serve(main, 5001, 'main');
              await serve(sidecar, 5002, 'sidecar');
              assert.equal(await fetch(sidecar, 5001), 'main');
              assert.equal(await fetch(main, 5002), 'sidecar');
              await main.setNetworkPolicy({ kind: 'open' });
              await assert.rejects(sidecar.setNetworkPolicy({ kind: 'open' }), { code: 'conflict' });
              await shell(main, 'echo private > /tmp/x');
              // Under gVisor the first one sees the other's programs; never the other way round.
              assert.equal(
                await shell(sidecar, 'test -e /tmp/x || echo none; ps | grep -c "[p] 5001" || true'),
                'none\n0',
              );
            });
            assert.equal(await fetch(main, 5001), 'main', 'the first goes on without the second');
          });
        });

        it('is destroyed alone, or with the other; nothing is left', async (t) => {
          if (!suite.capabilities.joins) return t.skip('cannot join another');
          const traces = await suite.harness.traces();
          const main = await create();
          const alone = await create({ joins: main.id });
          await shell(alone, 'sleep 1000 >/dev/null 2>&1 &');
          const before = await shell(main, 'cat /proc/net/tcp | wc -l');
          await destroy(alone);
          assert.equal(await shell(main, 'cat /proc/net/tcp | wc -l'), before);
          const sidecar = await create({ joins: main.id });
          await destroy(main);
          assert.deepEqual(await sidecar.exited, { reason: 'destroyed' });
          suite.live.delete(sidecar);
          assert.deepEqual(await suite.harness.traces(), traces);
          await assert.rejects(create({ joins: main.id }), { code: 'sandbox-ended' });
          assert.deepEqual(await suite.harness.traces(), traces);
        });

        it('an aborted or failed one leaves nothing and does not harm the other', async (t) => {
          if (!suite.capabilities.joins) return t.skip('cannot join another');
          // gVisor's own nameless helpers of the first one come and go as it works.
          const lasting = async () =>
            (await suite.harness.traces()).filter((trace) => !/^process \S+ {2}/.test(trace));
          await using({}, async (main) => {
            const traces = await lasting();
            await assert.rejects(create({ joins: main.id, hostname: 'not a hostname' }), {
              code: 'invalid-argument',
            });
            for (const ms of [5, 20, 40, 80, 120]) {
              const abort = new AbortController();
              const outcome = suite
                .start(suite.spec({ joins: main.id }), abort.signal)
                .catch(() => undefined);
              await delay(ms);
              abort.abort();
              const made = await outcome;
              if (made) await destroy(made);
            }
            assert.deepEqual(await lasting(), traces);
            assert.equal(await shell(main, 'echo fine'), 'fine');
          });
        });

        it('is adopted after a restart, or removed without harm to the other', async (t) => {
          if (!suite.capabilities.joins) return t.skip('cannot join another');
          const traces = await suite.harness.traces();
          const main = await create();
          const known = await create({ joins: main.id });
          const unknown = await create({ joins: main.id });
          await shell(known, 'echo state > /tmp/state');
          await serve(main, 5003, 'main');
          await suite.harness.restart();
          for (const instance of [main, known, unknown]) suite.live.delete(instance);
          const { instances: adopted } = await suite.harness.engine.adopt(new Set([main.id, known.id]));
          assert.deepEqual([...adopted.keys()].sort(), [main.id, known.id].sort());
          const [again, sidecar] = [adopted.get(main.id), adopted.get(known.id)];
          assert.ok(again && sidecar);
          suite.live.add(again);
          assert.equal(await shell(sidecar, 'cat /tmp/state'), 'state');
          assert.equal(await fetch(sidecar, 5003), 'main');
          await destroy(again);
          assert.deepEqual(await sidecar.exited, { reason: 'destroyed' });
          assert.deepEqual(await suite.harness.traces(), traces);
        });
      });

      it('a restart adopts what is known and alive, with its processes, and removes the rest', async () => {
        const traces = await suite.harness.traces();
        const { networkPolicy } = suite.capabilities;
        const kept = await create(networkPolicy ? { network: { kind: 'blocked' } } : {});
        const old = await create({ id: newTaskId() as string as InstanceId }); // of a version that named them so
        const unknown = await create();
        const stopped = await create();
        suite.live.delete(unknown);
        suite.live.delete(stopped);
        await shell(kept, 'sleep 1000 >/dev/null 2>&1 & echo state > /tmp/state');
        await stopped.stop();
        await suite.harness.restart();
        suite.live.delete(kept);
        suite.live.delete(old);
        const { instances: adopted } = await suite.harness.engine.adopt(
          new Set([kept.id, old.id, stopped.id, newInstanceId()]),
        );
        assert.deepEqual([...adopted.keys()].sort(), [kept.id, old.id]);
        assert.equal(await shell(adopted.get(old.id) ?? kept, 'echo fine'), 'fine');
        await destroy(old);
        const again = adopted.get(kept.id);
        assert.ok(again);
        suite.live.add(again);
        assert.equal(again.runtime, runtime);
        assert.equal(await shell(again, 'cat /tmp/state; ps | grep -c "[s]leep 1000"'), 'state\n1');
        if (networkPolicy) await again.setNetworkPolicy({ kind: 'open' });
        await using({}, async (instance) => assert.equal(await shell(instance, 'echo fine'), 'fine'));
        await destroy(again);
        assert.deepEqual(await suite.harness.traces(), traces);
      });
    });

    engineBinding(() => suite);
    engineDisk(() => suite);
    engineCopies(() => suite);
    enginePorts(() => suite);
    engineCheckpoints(() => suite);
    engineDevices(() => suite);

    if (promises) describe('what it promises besides', () => promises(() => suite));
  });
}
