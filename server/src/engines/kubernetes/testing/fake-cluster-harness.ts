/** The engine on a cluster that is none, as the conformance suite sees it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treesBinaryPath } from '../../../agent/agent-binary.ts';
import { AgentClient } from '../../../agent/agent-client.ts';
import { PodAgentClient } from '../../../agent/pod-agent-client.ts';
import { MachineRoom } from '../../../platform/machine-room.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { KubernetesEngineOptions } from '../engine.ts';
import type { Dial } from '../pod-agent.ts';
import { FakeCluster } from './fake-cluster.ts';
import { openKubernetesHarness } from './harness.ts';

const logger = createLogger('silent');

/** Nothing there has a control group of its own. */
class FakePodAgent extends PodAgentClient {
  override async stats(dial: Dial, signal: AbortSignal) {
    const { rssKiB, processes } = await new AgentClient(dial, logger).stats(signal);
    return { memoryBytes: rssKiB * 1024, cpuUsageNs: 1e9, pids: processes + 1, oomKills: 0 };
  }
}

type Bounds = Pick<KubernetesEngineOptions, 'answerTimeoutMs' | 'removalTimeoutMs'>;

/** @returns the cluster as well, which goes with the harness */
export async function openOnFakeCluster(content: KubernetesEngineOptions['content'], bounds: Bounds = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-pods-'));
  const cluster = await FakeCluster.open(directory);
  const harness = await openKubernetesHarness({
    ...{ content, runtimeClass: undefined, namespace: 'sandboxes' },
    ...{ agent: new FakePodAgent(treesBinaryPath(), logger), room: new MachineRoom(directory) },
    ...{ networkPolicies: 'enforced', nameservers: [], ...bounds },
    ...{ kubeconfig: cluster.kubeconfig, images: cluster.images, dataDir: join(directory, 'data') },
    onClose: async () => {
      await cluster[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  });
  return { cluster, harness };
}
