/** The engine on a cluster that is none, as the conformance suite sees it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentClient } from '../../../agent/agent-client.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { ContentPlaces } from '../../references.ts';
import type { ReadStats } from '../instance.ts';
import { FakeCluster } from './fake-cluster.ts';
import { openKubernetesHarness } from './harness.ts';

const logger = createLogger('silent');

/** Nothing there has a control group of its own. */
const readStats: ReadStats = async (dial, signal) => {
  const { rssKiB, processes } = await new AgentClient(dial, logger).stats(signal);
  return { memoryBytes: rssKiB * 1024, cpuUsageNs: 1e9, pids: processes + 1, oomKills: 0 };
};

/** @returns the cluster as well, which goes with the harness */
export async function openOnFakeCluster(content: ContentPlaces) {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-pods-'));
  const cluster = await FakeCluster.open(directory);
  const harness = await openKubernetesHarness({
    ...{ content, readStats, runtimeClass: undefined, namespace: 'sandboxes' },
    ...{ networkPolicies: 'enforced', nameservers: [] },
    ...{ kubeconfig: cluster.kubeconfig, images: cluster.images, dataDir: join(directory, 'data') },
    onClose: async () => {
      await cluster[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  });
  return { cluster, harness };
}
