/** The engines of a server, as its configuration says: the server has them, and so has who removes what it left. */
import { join } from 'node:path';
import {
  agentBinaryPath,
  egressBinaryPath,
  enginePrograms,
  podLinkBinaryPath,
  treesBinaryPath,
} from './agent/agent-binary.ts';
import type { Config } from './config/config.ts';
import type { Engine } from './engines/engine.ts';
import { EngineFiles } from './engines/kubernetes/engine-files.ts';
import { createOciEngine } from './engines/oci/engine.ts';
import { defaultRunDir } from './engines/oci/layout.ts';
import type { OciEngineOptions } from './engines/oci/options.ts';
import { SkerryError } from './errors/skerry-error.ts';
import type { MemberId } from './ids.ts';
import { ImagePlaces } from './images/image-places.ts';
import type { SecretHeaders } from './network/secret-headers.ts';
import type { MachineRoom } from './platform/machine-room.ts';
import { SandboxContent } from './sandboxes/content-places.ts';
import { checkpointsDir } from './sandboxes/memory-snapshots.ts';
import type { Logger } from './telemetry/logger.ts';

/** That of this machine. @param parts what the engine needs for sandboxes to go on; nothing where they are to end */
export const createEngine = (
  config: Config,
  parts: Pick<OciEngineOptions, 'secretHeaders' | 'memoryKey' | 'room'>,
  logger: Logger,
): Engine =>
  createOciEngine({
    config,
    dataDir: config.dataDir,
    content: contentOf(config),
    ...enginePrograms(),
    ...parts,
    logger,
  });

const contentOf = (config: Config, member?: MemberId): SandboxContent =>
  new SandboxContent(
    ImagePlaces.in(config.dataDir, member),
    volumeTreesDir(config),
    checkpointsDir(config.dataDir),
  );

/** In the engine's run directory: private, gone after a reboot, and removed with it. */
export const volumeTreesDir = ({ dataDir }: Config): string => join(defaultRunDir(dataDir), 'v');

/**
 * That of a cluster, where sandboxes are to run there. It is loaded only then: the client of Kubernetes is large.
 * @param more where several servers share the data directory and this one does not lead: it; what opens secret headers, where sandboxes are to have some
 * @throws SkerryError `invalid-argument` when something is missing that it needs
 */
export async function createClusterEngine(
  config: Config,
  room: MachineRoom,
  logger: Logger,
  { member, secretHeaders }: { readonly member?: MemberId; readonly secretHeaders?: SecretHeaders } = {},
): Promise<Engine | undefined> {
  const { dataDir, kubeconfig, namespace, networkPolicies, nameservers, registry, gpuTypes } = config;
  if (config.engine === 'local') return undefined;
  if (registry === '') {
    const said =
      'Nodes fetch images from a registry: name a repository there with --registry HOST/REPOSITORY.';
    throw new SkerryError('invalid-argument', said);
  }
  const { PodAgentClient } = await import('./agent/pod-agent-client.ts');
  const { KubernetesEngine } = await import('./engines/kubernetes/engine.ts');
  const { RegistryImages } = await import('./images/registry-images.ts');
  const places = new EngineFiles(dataDir, member);
  return new KubernetesEngine({
    ...{ kubeconfig, namespace, networkPolicies, nameservers, gpuTypes, dataDir, member, logger },
    ...{ extraCaFile: config.extraCaFile, secretHeaders },
    runtimeClass: config.runtimeClass || undefined,
    gpuRuntimeClass: config.gpuRuntimeClass || undefined,
    gpuWaitMs: config.gpuWaitSeconds * 1000,
    content: contentOf(config, member),
    images: new RegistryImages({
      ...{ repository: registry, insecure: config.insecureRegistries, timeoutMs: config.registryTimeoutMs },
      authFile: config.registryAuthFile,
      directory: places.temporary,
      sentFile: places.sentLayers,
      ...{ room, logger },
    }),
    agent: new PodAgentClient(treesBinaryPath(), logger),
    room,
    agentBinaryPath: agentBinaryPath(),
    egressBinaryPath: egressBinaryPath(),
    podLinkBinaryPath: podLinkBinaryPath(),
  });
}
