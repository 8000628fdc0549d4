/** NVIDIA's GPUs that are there, under each runtime that can hand them on: only where a CDI file of the machine describes some. */
import { after, before, describe, test } from 'node:test';
import { configSchema } from '../../server/src/config/config.ts';
import { GpuRuntimes, NVIDIA_KIND } from '../../server/src/engines/oci/gpus/gpu-runtimes.ts';
import { MachineGpus } from '../../server/src/engines/oci/gpus/machine-gpus.ts';
import { machineRuntimes, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

const BEFORE = 'before_the_restart';
const AFTER = 'after_the_restart';
const CASES = [
  'a_sandbox_without_a_gpu_has_nothing_of_it',
  'a_program_computes_on_the_gpu',
  'others_are_refused_meanwhile',
  'memory_that_a_killed_program_had_is_free_for_the_next_sandbox',
  'a_snapshot_beside_a_program_that_computes',
];

const runtimes = new GpuRuntimes(await machineRuntimes());
const found = await new MachineGpus(configSchema.parse({}), (kind) => runtimes.of(kind)).find();
const gpus = found.gpus.filter(({ name }) => name.startsWith(`${NVIDIA_KIND}=`));
const [gpu] = gpus;

for (const { runtime, skip } of await runtimesToTest()) {
  const isUsable = gpu?.runtimes.has(runtime) === true;
  const why = skip || (isUsable ? false : `no GPU of NVIDIA's is described that can be had under ${runtime}`);
  describe(`real GPUs under ${runtime}`, { skip: why }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());
    const env = { LIFE_GPU_TYPE: gpu?.types[0] ?? 'any', LIFE_GPU_COUNT: String(gpus.length) };

    test('are computed on, by one sandbox at a time', (t) =>
      pythonCases(t, server, 'real_gpus', { env, only: CASES }));

    test('a program on one outlives the server', async (t) => {
      await pythonCases(t, server, 'real_gpus', { env, only: [BEFORE] });
      await server.kill9();
      await server.restart();
      await pythonCases(t, server, 'real_gpus', { env, only: [AFTER] });
    });
  });
}
