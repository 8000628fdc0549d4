/** The engine of a cluster as the conformance suite sees it. */
import { agentBinaryPath, egressBinaryPath, podLinkBinaryPath } from '../../../agent/agent-binary.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { EngineHarness } from '../../testing/engine-suite.ts';
import { restartable } from '../../testing/restartable.ts';
import { KubernetesEngine, type KubernetesEngineOptions } from '../engine.ts';

export interface HarnessOptions
  extends Omit<
    KubernetesEngineOptions,
    'agentBinaryPath' | 'egressBinaryPath' | 'podLinkBinaryPath' | 'logger'
  > {
  readonly onClose: () => Promise<void>;
}

export function openKubernetesHarness({ onClose, ...options }: HarnessOptions): Promise<EngineHarness> {
  return restartable(() => makeKubernetesEngine(options), { hostname: 'no hostname of a Pod' }, onClose);
}

export const makeKubernetesEngine = (options: Omit<HarnessOptions, 'onClose'>): KubernetesEngine =>
  new KubernetesEngine({
    ...options,
    agentBinaryPath: agentBinaryPath(),
    egressBinaryPath: egressBinaryPath(),
    podLinkBinaryPath: podLinkBinaryPath(),
    logger: createLogger('silent'),
  });
