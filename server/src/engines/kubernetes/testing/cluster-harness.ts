/** The engine on the cluster that `npm run test:kubernetes` makes, as the conformance suite sees it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treesBinaryPath } from '../../../agent/agent-binary.ts';
import { PodAgentClient } from '../../../agent/pod-agent-client.ts';
import { type MemberId, newMemberId } from '../../../ids.ts';
import { RegistryImages } from '../../../images/registry-images.ts';
import { MachineRoom } from '../../../platform/machine-room.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { ContentPlaces } from '../../references.ts';
import type { EngineHarness } from '../../testing/engine-suite.ts';
import type { KubernetesEngine } from '../engine.ts';
import { EngineFiles } from '../engine-files.ts';
import { type HarnessOptions, makeKubernetesEngine, openKubernetesHarness } from './harness.ts';
import { startTestDevicePlugin } from './test-device-plugin.ts';

const { STATE: state = '' } = process.env;
export const { SKERRY_TEST_KUBECONFIG: kubeconfig = '' } = process.env;
/** `ADDRESS:PORT`, of the machine that the cluster is on. */
export const { SKERRY_TEST_REGISTRY: registry = '' } = process.env;
const { SKERRY_TEST_RUNTIME_CLASS: runtimeClass } = process.env;
/** That of the Pods. */
export const runtime = runtimeClass === undefined ? 'runc' : 'gvisor';
const logger = createLogger('silent');

/** Why there is no such cluster. */
export const noCluster = kubeconfig === '' ? 'npm run test:kubernetes has a cluster' : false;

/** As one of several, which asks more of a cluster than one that is alone; that is what the servers of other suites are. */
const MEMBER = newMemberId();

/** @param nameservers none: whom its nodes ask */
export async function openOnCluster(
  content: ContentPlaces,
  nameservers: readonly string[] = [],
): Promise<EngineHarness> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-pods-'));
  const gpus = { state, node: 'node-1', resource: 'nvidia.com/gpu', ids: ['gpu0', 'gpu1', 'gpu2'] };
  const plugin = await startTestDevicePlugin({ ...gpus, files: runtime === 'runc' });
  return openKubernetesHarness({
    ...onCluster(content, directory, MEMBER),
    nameservers,
    onClose: async () => {
      await plugin[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  });
}

/** An engine there, of several over one directory. Whoever opens it closes it. */
export const makeOnCluster = (
  content: ContentPlaces,
  directory: string,
  member: MemberId | undefined,
  more: Partial<Pick<HarnessOptions, 'runtimeClass'>> = {},
): KubernetesEngine => makeKubernetesEngine({ ...onCluster(content, directory, member), ...more });

function onCluster(
  content: ContentPlaces,
  directory: string,
  member: MemberId | undefined,
): Omit<HarnessOptions, 'onClose'> {
  const places = new EngineFiles(directory, member);
  return {
    ...{ content, kubeconfig, namespace: 'default', runtimeClass, dataDir: directory, member },
    ...{ networkPolicies: 'enforced', nameservers: [], extraCaFile: '', secretHeaders: undefined },
    ...{ gpuRuntimeClass: undefined, gpuTypes: ['nvidia.com/gpu:A100'], gpuWaitMs: 60_000 },
    agent: new PodAgentClient(treesBinaryPath(), logger),
    room: new MachineRoom(directory),
    images: new RegistryImages({
      // Layers are named by tests, not by what is in them: what a node has of another suite's is not this one's.
      repository: `${registry}/conformance-${runtime}`,
      insecure: [registry],
      timeoutMs: 60_000,
      authFile: '',
      directory: places.temporary,
      sentFile: places.sentLayers,
      room: new MachineRoom(directory),
      logger,
    }),
  };
}
