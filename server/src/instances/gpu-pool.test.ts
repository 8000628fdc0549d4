import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Device, RuntimeName } from '../engines/engine.ts';
import { newInstanceId, newTaskId } from '../ids.ts';
import { ANY_GPU, GpuPool } from './gpu-pool.ts';

const gpu = (
  name: string,
  types: readonly string[],
  runtimes: readonly RuntimeName[] = ['runc'],
): Device => ({
  name,
  types,
  runtimes: new Set(runtimes),
});
const machine = [
  gpu('big', ['A100-80GB', 'A100']),
  gpu('small', ['A100-40GB', 'A100']),
  gpu('card', ['T4'], ['runc', 'gvisor']),
  gpu('unknown', []),
];

const pool = (sharing = 1) => new GpuPool({ gpus: async () => machine }, sharing);
const claim = (
  from: GpuPool,
  type: string,
  count = 1,
  holder = newTaskId(),
  runtime: 'auto' | RuntimeName = 'auto',
) => from.claim(holder, { type, count }, runtime, machine);

describe('GpuPool', () => {
  it('gives what fits and is free, at once or not at all', () => {
    const gpus = pool();
    assert.deepEqual(claim(gpus, 'A100-40GB').devices, ['small']);
    assert.throws(() => claim(gpus, 'A100', 2), {
      code: 'resource-exhausted',
      message:
        /2 GPUs of type A100 wanted, and 1 of 2 free.*1 × A100-80GB, 1 × A100-40GB, 1 × T4, 1 × of no known/,
    });
    assert.deepEqual(claim(gpus, 'A100').devices, ['big'], 'nothing was taken by the one that failed');
    assert.deepEqual(claim(gpus, ANY_GPU, 2).devices, ['card', 'unknown']);
    assert.throws(() => claim(gpus, ANY_GPU), { code: 'resource-exhausted' });
  });

  it('says what there is when it can never give that', () => {
    assert.throws(() => claim(pool(), 'H100'), { code: 'invalid-argument', message: /1 × A100-80GB/ });
    assert.throws(() => claim(pool(), ANY_GPU, 5), { code: 'invalid-argument' });
    assert.throws(() => pool().claim(newTaskId(), { type: 'H100', count: 1 }, 'auto', []), {
      code: 'invalid-argument',
      message: /has none.*doctor/,
    });
  });

  it('says under what those run who have some, for whom only that is open', () => {
    const gpus = pool();
    const [card, several, nobody] = [newTaskId(), newTaskId(), newTaskId()];
    claim(gpus, 'T4', 1, card);
    claim(gpus, 'A100', 2, several);
    assert.deepEqual(
      [card, several, nobody].map((holder) => gpus.runtimeFor(holder)),
      ['gvisor', 'runc', undefined],
    );
  });

  it('gives only what the runtime can hand on', () => {
    const gpus = pool();
    assert.throws(() => claim(gpus, 'A100', 1, newTaskId(), 'gvisor'), {
      code: 'invalid-argument',
      message: /gvisor.*runtime="runc"/,
    });
    assert.deepEqual(claim(gpus, ANY_GPU, 1, newTaskId(), 'gvisor').devices, ['card']);
  });

  it('gives a holder the same again', () => {
    const gpus = pool();
    const holder = newTaskId();
    assert.deepEqual(claim(gpus, 'T4', 1, holder), claim(gpus, 'T4', 1, holder));
  });

  it('has them free only once the holder ended and its instances are gone, in whatever order', () => {
    for (const order of ['released first', 'gone first'] as const) {
      const gpus = pool();
      const instance = newInstanceId();
      const had = claim(gpus, 'T4');
      gpus.use(had, instance);
      const release = () => gpus.release(had.holder);
      const gone = () => gpus.gone(instance);
      const [first, second] = order === 'gone first' ? [gone, release] : [release, gone];
      first();
      assert.throws(() => claim(gpus, 'T4'), { code: 'resource-exhausted' }, order);
      second();
      assert.deepEqual(claim(gpus, 'T4').devices, ['card']);
    }
  });

  it('knows what an earlier server gave: to a sandbox that lives, and to one that could not be removed', () => {
    const gpus = pool();
    const [task, instance, left] = [newTaskId(), newInstanceId(), newInstanceId()];
    gpus.recall(task, ['card'], instance);
    gpus.recall(left, ['big'], left);
    assert.throws(() => claim(gpus, 'T4'), { code: 'resource-exhausted' });
    assert.throws(() => claim(gpus, 'A100-80GB'), { code: 'resource-exhausted' });
    gpus.gone(left);
    assert.deepEqual(claim(gpus, 'A100-80GB').devices, ['big']);
    gpus.release(task);
    assert.throws(() => claim(gpus, 'T4'), { code: 'resource-exhausted' });
    gpus.gone(instance);
    assert.deepEqual(claim(gpus, 'T4').devices, ['card']);
  });

  it('lets as many have one as it is told to, the least used first', () => {
    const gpus = pool(2);
    const first = claim(gpus, 'A100').devices;
    const second = claim(gpus, 'A100').devices;
    assert.notDeepEqual(first, second);
    claim(gpus, 'A100', 2);
    assert.throws(() => claim(gpus, 'A100'), { code: 'resource-exhausted' });
  });
});
