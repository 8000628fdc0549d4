/**
 * A server reduced to its engine, to be killed: opens an engine over a data directory and starts and destroys instances for ever. Arguments: data
 * directory, directory of layers, layer, runtime, and the fault point to be killed at, if any. Prints a line once the first instance was made, so that kills hit a busy engine.
 */
import { enginePrograms, launcherBinaryPath } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { baseEnvironment, startCommandsWith } from '../../platform/command.ts';
import { killAt } from '../../platform/fault-points.ts';
import { Launcher } from '../../platform/launcher.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createOciEngine } from '../oci/engine.ts';
import { instanceName } from '../oci/layout.ts';
import { TEST_ENGINE_CONFIG } from './engine-config.ts';
import { TestContent } from './test-content.ts';

const [dataDir = '', content = '', layer = '', runtime = '', point = ''] = process.argv.slice(2);
const logger = createLogger('silent');
startCommandsWith(
  new Launcher({
    program: launcherBinaryPath(),
    whose: instanceName(dataDir),
    env: baseEnvironment(),
    logger,
  }),
);
const engine = createOciEngine({
  config: TEST_ENGINE_CONFIG,
  dataDir,
  content: new TestContent(content),
  ...enginePrograms(),
  logger,
  faultPoint: killAt(point),
});
await engine.open();
const limits = { memoryMiB: 256, milliCpu: 1000, milliCpuRequest: 500, pids: 200 };
for (;;) {
  const signal = AbortSignal.timeout(60_000);
  const prepared = await engine.prepare(
    {
      id: newInstanceId(),
      layers: [TestContent.ref(layer)],
      runtime: runtime === 'gvisor' ? 'gvisor' : 'runc',
      ...(engine.capabilities('runc').disk && { disk: { sizeMiB: 32, files: 512 } }),
    },
    signal,
  );
  const tenure = { hostname: 'doomed', limits, network: { kind: 'blocked' }, mounts: [] } as const;
  const instance = await prepared.bind(tenure, signal);
  process.stdout.write(`${instance.id}\n`);
  await engine.destroy(instance.id);
}
