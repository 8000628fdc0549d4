/** The part of the conformance suite about instances that are nobody's yet, and about what an engine says that it can do. */
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { newInstanceId, newMemorySnapshotId } from '../../ids.ts';
import { delay } from '../../platform/wait.ts';
import type { Prepared, Tenure } from '../engine.ts';
import { type EngineSuite, GROUP_TIMEOUT_MS, limits, signal, type TestSpec } from './engine-suite.ts';
import { shell } from './guest.ts';
import { TestContent } from './test-content.ts';

const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
/** When its agent starts: with `bind`, or before. */
const kinds = { cold: {}, waiting: { expects } } as const;

/** The cases, for `engineConformance`. */
export function engineBinding(suite: () => EngineSuite): void {
  const prepare = (spec: Partial<TestSpec> = {}) =>
    suite().harness.engine.prepare(suite().spec(spec), signal());
  const bind = (prepared: Prepared, more: Partial<Tenure> = {}) =>
    prepared.bind(suite().spec(more), signal());
  const destroy = (instance: Pick<Prepared, 'id'>) => suite().harness.engine.destroy(instance.id);
  const traces = () => suite().harness.traces();

  describe("an instance that is nobody's yet", { timeout: GROUP_TIMEOUT_MS }, () => {
    for (const [kind, shape] of Object.entries(kinds)) {
      it(`becomes somebody's, once (${kind})`, async () => {
        const before = await traces();
        const prepared = await prepare(shape);
        assert.equal(prepared.runtime, suite().runtime);
        assert.notDeepEqual(await traces(), before);
        const instance = await bind(prepared);
        assert.equal(instance.id, prepared.id);
        await assert.rejects(bind(prepared), { code: 'conflict' });
        assert.equal(await shell(instance, 'hostname; echo x > /x && cat /x'), 'sandbox\nx');
        await destroy(instance);
        assert.deepEqual(await traces(), before);
      });

      it(`is destroyed, and leaves nothing (${kind})`, async () => {
        const before = await traces();
        const prepared = await prepare(shape);
        await assert.rejects(prepare({ id: prepared.id }), { code: 'already-exists' });
        await Promise.all([destroy(prepared), destroy(prepared)]);
        assert.deepEqual(await traces(), before);
        await assert.rejects(bind(prepared), { code: 'sandbox-ended' });
        await destroy(prepared);
        await destroy({ id: newInstanceId() });
        assert.deepEqual(await traces(), before);
      });

      it(`is destroyed at whatever moment of its binding (${kind})`, async () => {
        const before = await traces();
        for (const ms of [0, 5, 20, 60]) {
          const prepared = await prepare(shape);
          const binding = bind(prepared).then(
            (instance) => instance.exited.then(({ reason }) => reason),
            (error) => error.code,
          );
          await delay(ms);
          await destroy(prepared);
          assert.ok(['sandbox-ended', 'destroyed'].includes(await binding));
          assert.deepEqual(await traces(), before, `after ${ms} ms`);
        }
      });

      it(`is removed when its server is gone, whoever knows its id (${kind})`, async () => {
        const before = await traces();
        const prepared = await prepare(shape);
        await suite().harness.restart();
        const adopted = await suite().harness.engine.adopt(new Set([prepared.id]));
        assert.deepEqual([adopted.instances.size, adopted.left.size], [0, 0]);
        assert.deepEqual(await traces(), before);
      });

      it(`is gone when it cannot be bound (${kind})`, async () => {
        const before = await traces();
        const prepared = await prepare(shape);
        await assert.rejects(bind(prepared, { hostname: 'no hostname' }));
        await assert.rejects(bind(prepared), { code: 'sandbox-ended' });
        assert.deepEqual(await traces(), before);
      });
    }

    it('is gone when the one is gone that it would have joined', async () => {
      if (!suite().capabilities.joins) return;
      const before = await traces();
      const main = await suite().create();
      const sidecar = await prepare({ joins: main.id });
      await suite().destroy(main);
      await assert.rejects(bind(sidecar), { code: 'sandbox-ended' });
      await destroy(sidecar);
      assert.deepEqual(await traces(), before);
    });
  });

  engineClaims(suite);
}

/** What an engine claims works, and what it does not claim is refused. For one that claims less than others, these are the cases. */
export function engineClaims(suite: () => EngineSuite): void {
  const rejected = { code: 'unimplemented' };

  describe('what it says that it can do', { timeout: GROUP_TIMEOUT_MS }, () => {
    const others: Readonly<{ [Part in keyof Tenure]: () => Promise<Tenure[Part]> }> = {
      hostname: async () => 'other',
      limits: async () => ({ ...limits, memoryMiB: 128, milliCpu: 500, pids: 100 }),
      network: async () => ({ kind: 'blocked' }),
      mounts: async () => {
        const directory = join(suite().directory, 'late');
        await mkdir(directory, { recursive: true });
        await writeFile(join(directory, 'file'), 'late');
        return [{ source: { kind: 'scratch', path: 'late' }, target: '/mnt/late', readOnly: true }];
      },
    };
    const looks: Partial<Record<keyof Tenure, string>> = {
      hostname: 'test "$(hostname) $(cat /etc/hostname)" = "other other"',
      mounts: 'test "$(cat /mnt/late/file)" = late',
    };
    for (const part of ['hostname', 'limits', 'network', 'mounts'] as const) {
      it(`other ${part} for a waiting instance`, async (t: TestContext) => {
        const { harness, capabilities } = suite();
        const before = await harness.traces();
        const prepared = await harness.engine.prepare({ ...suite().spec(), expects }, signal());
        const binding = prepared.bind(suite().spec({ [part]: await others[part]() }), signal());
        if (capabilities.bindsLate.has(part)) {
          await shell(await binding, looks[part] ?? 'echo fine');
          await harness.engine.destroy(prepared.id);
        } else {
          t.diagnostic('not claimed');
          await assert.rejects(binding, rejected);
        }
        assert.deepEqual(await harness.traces(), before);
      });
    }

    it('joining another, a commit, another network policy', async () => {
      const { capabilities } = suite();
      await suite().using({}, async (instance) => {
        const made = TestContent.ref('claimed');
        const calls = {
          joins: async () => suite().destroy(await suite().create({ joins: instance.id })),
          commit: async () => {
            await instance.commit(made, { move: false });
            await rm(suite().content.layer(made), { recursive: true });
          },
          networkPolicy: () => instance.setNetworkPolicy({ kind: 'blocked' }),
          checkpoints: async () => {
            const to = newMemorySnapshotId();
            await instance.checkpoint(to, made, {});
            for (const path of [suite().content.checkpoint(to), suite().content.layer(made)])
              await rm(path, { recursive: true });
          },
        };
        for (const [name, call] of Object.entries(calls)) {
          if (capabilities[name as keyof typeof calls]) await call();
          else await assert.rejects(call(), rejected, name);
        }
      });
    });
  });
}
