/** The part of the conformance suite about devices. What a device is differs between engines; who has it, and that it goes with its instance, does not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newInstanceId } from '../../ids.ts';
import type { EngineSuite } from './engine-suite.ts';
import { GROUP_TIMEOUT_MS, signal } from './engine-suite.ts';

/** The cases, for `engineConformance`. The harness's engine has at least two GPUs of type A100, which need not be usable under each runtime. */
export function engineDevices(suite: () => EngineSuite): void {
  describe('devices', { timeout: GROUP_TIMEOUT_MS }, () => {
    const engine = () => suite().harness.engine;
    /** Two of them; of a kind, the same name twice. */
    const names = async () => {
      const [first, second = first] = await a100s();
      return [first?.name ?? '', second?.name ?? ''];
    };
    const a100s = async () => (await engine().gpus()).filter(({ types }) => types.includes('A100'));
    const canHandOn = async () =>
      (await engine().gpus()).every(({ runtimes }) => runtimes.has(suite().runtime));

    it('are each there once, with their types', async (t) => {
      if (!suite().capabilities.devices) return t.skip('has none');
      const gpus = await engine().gpus();
      assert.equal(new Set(gpus.map(({ name }) => name)).size, gpus.length);
      const its = await a100s();
      const isKind = its.some(({ foundWithinMs }) => foundWithinMs !== undefined);
      assert.ok(its.length >= (isKind ? 1 : 2));
    });

    it('belong to the instance that was made with them, also after a restart', async (t) => {
      if (!suite().capabilities.devices) return t.skip('has none');
      if (!(await canHandOn())) return t.skip('not under this runtime');
      const [first = '', second = ''] = await names();
      const plain = await suite().create();
      const instance = await suite().create({ devices: [first, second] });
      assert.deepEqual([plain.devices, plain.deviceEnvironment], [[], {}]);
      assert.deepEqual(instance.devices, [first, second]);
      assert.notDeepEqual(instance.deviceEnvironment, {});
      const { deviceEnvironment, isolation } = instance;
      assert.equal(isolation, plain.isolation);
      suite().live.clear();
      await suite().harness.restart();
      const { instances } = await engine().adopt(new Set([plain.id, instance.id]));
      assert.deepEqual(instances.get(plain.id)?.devices, []);
      assert.deepEqual(instances.get(instance.id)?.devices, [first, second]);
      assert.deepEqual(instances.get(instance.id)?.deviceEnvironment, deviceEnvironment);
      await suite().destroy(plain);
      await suite().destroy(instance);
    });

    it('that are not there, or not to be had under a runtime, are refused, and nothing is left', async (t) => {
      if (!suite().capabilities.devices) return t.skip('has none');
      const before = await suite().harness.traces();
      const prepare = (devices: string[]) =>
        engine().prepare({ ...suite().spec(), id: newInstanceId(), devices }, signal());
      await assert.rejects(prepare(['nobody.test/gpu=0']), { code: 'unavailable' });
      if (!(await canHandOn())) await assert.rejects(prepare(await names()), { code: 'unavailable' });
      assert.deepEqual(await suite().harness.traces(), before);
    });

    it('have instances whose creator leaves the runtime open run under one that can hand them on', async (t) => {
      if (!suite().capabilities.devices) return t.skip('has none');
      const [gpu] = await a100s();
      const instance = await suite().create({ devices: [gpu?.name ?? ''], runtime: 'auto' });
      assert.ok(gpu?.runtimes.has(instance.runtime));
      await suite().destroy(instance);
    });
  });
}
