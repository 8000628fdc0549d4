/** The engine on a cluster that is none, as the conformance suite sees it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treesBinaryPath } from '../../../agent/agent-binary.ts';
import { AgentClient } from '../../../agent/agent-client.ts';
import { PodAgentClient } from '../../../agent/pod-agent-client.ts';
import type { MemberId } from '../../../ids.ts';
import { MachineRoom } from '../../../platform/machine-room.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { KubernetesEngine, KubernetesEngineOptions } from '../engine.ts';
import type { Dial } from '../pod-agent.ts';
import { FakeCluster } from './fake-cluster.ts';
import { type HarnessOptions, makeKubernetesEngine, openKubernetesHarness } from './harness.ts';

const logger = createLogger('silent');

/** Nothing there has a control group of its own. */
class FakePodAgent extends PodAgentClient {
  override async stats(dial: Dial, signal: AbortSignal) {
    const { rssKiB, processes } = await new AgentClient(dial, logger).stats(signal);
    return { memoryBytes: rssKiB * 1024, cpuUsageNs: 1e9, pids: processes + 1, oomKills: 0 };
  }
}

type More = Partial<
  Pick<
    KubernetesEngineOptions,
    | 'answerTimeoutMs'
    | 'extraCaFile'
    | 'secretHeaders'
    | 'gpuRuntimeClass'
    | 'gpuTypes'
    | 'gpuWaitMs'
    | 'member'
    | 'nameservers'
    | 'removalTimeoutMs'
  >
>;

/** @returns the cluster as well, which goes with the harness */
export async function openOnFakeCluster(content: KubernetesEngineOptions['content'], more: More = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-pods-'));
  const cluster = await FakeCluster.open(directory);
  const harness = await openKubernetesHarness({
    ...onFakeCluster(cluster, directory, content),
    ...more,
    onClose: async () => {
      await cluster[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  });
  return { cluster, harness };
}

/** An engine on it, of several if it is called more than once. Whoever opens it closes it. */
export const makeOnFakeCluster = (
  cluster: FakeCluster,
  directory: string,
  content: KubernetesEngineOptions['content'],
  member: MemberId | undefined,
  more: Partial<Pick<KubernetesEngineOptions, 'images'>> = {},
): KubernetesEngine =>
  makeKubernetesEngine({ ...onFakeCluster(cluster, directory, content), member, ...more });

const onFakeCluster = (
  cluster: FakeCluster,
  directory: string,
  content: KubernetesEngineOptions['content'],
): Omit<HarnessOptions, 'onClose'> => ({
  ...{ content, runtimeClass: undefined, namespace: 'sandboxes', member: undefined },
  ...{ agent: new FakePodAgent(treesBinaryPath(), logger), room: new MachineRoom(directory) },
  ...{ networkPolicies: 'enforced', nameservers: [], extraCaFile: '', secretHeaders: undefined },
  ...{ gpuRuntimeClass: undefined, gpuTypes: [], gpuWaitMs: 30_000 },
  ...{ kubeconfig: cluster.kubeconfig, images: cluster.images, dataDir: join(directory, 'data') },
});
