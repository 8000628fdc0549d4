/**
 * A server reduced to its engine, to be killed: opens an engine over a data directory and starts and destroys instances for ever. Arguments: data
 * directory, directory of layers, layer, runtime. Prints a line once the first instance was made, so that kills hit a busy engine.
 */
import { agentBinaryPath } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createOciEngine } from '../oci/engine.ts';
import { TestContent } from './test-content.ts';

const [dataDir = '', content = '', layer = '', runtime = ''] = process.argv.slice(2);
const engine = createOciEngine({
  config: {
    runtime: 'auto',
    extraCaFile: '',
    allowPrivate: [],
    subnet: 'auto',
    nameservers: ['192.0.2.53'],
    runscPath: process.env.SKERRY_RUNSC ?? '',
  },
  dataDir,
  content: new TestContent(content),
  agentBinaryPath: agentBinaryPath(),
  logger: createLogger('silent'),
});
await engine.open();
const limits = { memoryMiB: 256, milliCpu: 1000, milliCpuRequest: 500, pids: 200 };
for (;;) {
  const instance = await engine.create(
    {
      id: newInstanceId(),
      layers: [TestContent.ref(layer)],
      hostname: 'doomed',
      runtime: runtime === 'gvisor' ? 'gvisor' : 'runc',
      limits,
      network: { kind: 'blocked' },
      mounts: [],
    },
    AbortSignal.timeout(60_000),
  );
  process.stdout.write(`${instance.id}\n`);
  await instance.destroy();
}
