/** The engine of a cluster as the conformance suite sees it. */
import { agentBinaryPath, podLinkBinaryPath } from '../../../agent/agent-binary.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { EngineHarness } from '../../testing/engine-suite.ts';
import { KubernetesEngine, type KubernetesEngineOptions } from '../engine.ts';

export interface HarnessOptions
  extends Omit<KubernetesEngineOptions, 'agentBinaryPath' | 'podLinkBinaryPath' | 'logger'> {
  readonly onClose: () => Promise<void>;
}

export async function openKubernetesHarness({ onClose, ...options }: HarnessOptions): Promise<EngineHarness> {
  const make = () =>
    new KubernetesEngine({
      ...options,
      agentBinaryPath: agentBinaryPath(),
      podLinkBinaryPath: podLinkBinaryPath(),
      logger: createLogger('silent'),
    });
  let engine = make();
  await engine.open();
  return {
    get engine() {
      return engine;
    },
    traces: () => engine.traces(),
    restart: async () => {
      await engine.close();
      engine = make();
      await engine.open();
    },
    failingSpec: { hostname: 'no hostname of a Pod' },
    [Symbol.asyncDispose]: async () => {
      await engine.close();
      await engine.remove();
      await onClose();
    },
  };
}
