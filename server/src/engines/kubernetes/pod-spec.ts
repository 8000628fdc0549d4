/** What a sandbox is to Kubernetes: a Pod, and a Secret that owns it and holds what its link shows the server. */
import { createHash } from 'node:crypto';
import type { V1Container, V1ObjectMeta, V1Pod, V1PodSpec, V1Secret } from '@kubernetes/client-node';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type InstanceId, isInstanceId, type VolumeMountId } from '../../ids.ts';
import { networkPolicySchema } from '../../network/policy.ts';
import type { InstanceLimits, NetworkPolicy, RuntimeName } from '../engine.ts';
import { capabilities } from '../oci/capabilities.ts';
import { GUEST_AGENT } from '../paths.ts';
import type { LayerRef } from '../references.ts';
import { isNvidias, nodesWith, type PodGpus, tolerationsOf } from './gpu-kinds.ts';

/** Of the link, in the sandbox's network. */
export const LINK_PORT = 7424;
export const SANDBOX_CONTAINER = 'sandbox';
export const LINK_CONTAINER = 'link';

/** All objects of a server have it, with the server's id as the value. */
export const SERVER_LABEL = 'skerry.dev/server';
/** Which of several servers has it; none of a server without others. */
const MEMBER_LABEL = 'skerry.dev/member';
const INSTANCE_LABEL = 'skerry.dev/instance';
/** On all that a server makes: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/ */
export const MANAGED = { 'app.kubernetes.io/managed-by': 'skerry' } as const;
/** On a Pod that is somebody's. */
export const BOUND_LABEL = 'skerry.dev/bound';

/** Which kind of policy a Pod has: objects of the cluster go by it. */
export const NETWORK_LABEL = 'skerry.dev/network';
/** The policy itself, for a server that takes the Pod over. */
const POLICY_ANNOTATION = 'skerry.dev/network-policy';
/** The gateway that it asks for names, likewise; none where it asks whom all do. */
const GATEWAY_ANNOTATION = 'skerry.dev/gateway';
/** The layers of its image, lowest first, likewise. */
const LAYERS_ANNOTATION = 'skerry.dev/layers';
/** What may be a name in a directory of ours. */
const layersSchema = z.array(z.string().regex(/^[\w-][\w.-]*$/));

/** Its volumes, likewise. */
const VOLUMES_ANNOTATION = 'skerry.dev/volumes';
const volumesSchema = z.array(
  z.object({
    tree: z.custom<VolumeMountId>((tree) => typeof tree === 'string' && /^vm-\w+$/.test(tree)),
    seen: z.array(z.object({ target: z.string(), path: z.string(), readOnly: z.boolean() })),
  }),
);

/** Names of its devices, and what its node said of them, likewise. */
const DEVICES_ANNOTATION = 'skerry.dev/devices';
const VARIABLES_ANNOTATION = 'skerry.dev/device-environment';
const devicesSchema = z.array(z.string());
const variablesSchema = z.record(z.string(), z.string());

const AGENT_VOLUME = 'agent';
/** Has gVisor keep the files of the volume where all containers of the Pod see the same, sockets too: https://gvisor.dev/docs/user_guide/filesystem/ */
const SHARED_IN_GVISOR = {
  [`dev.gvisor.spec.mount.${AGENT_VOLUME}.type`]: 'tmpfs',
  [`dev.gvisor.spec.mount.${AGENT_VOLUME}.share`]: 'pod',
};
/** A runtime of NVIDIA's goes by it, and gives a container that says nothing of it what its image asks for: in images of CUDA that is every GPU of the node. */
export const NO_GPUS = { name: 'NVIDIA_VISIBLE_DEVICES', value: 'void' };
const CREDENTIALS_VOLUME = 'credentials';
const GUEST_ROOT = '/__modal';
export const CREDENTIALS_DIR = '/credentials';
export const CREDENTIALS_MOUNT = { name: CREDENTIALS_VOLUME, mountPath: CREDENTIALS_DIR, readOnly: true };
export const LINK_LISTENS = `[::]:${LINK_PORT}`;
/** Those of Pod Security's level `baseline`. What a raw socket could do to others of the node's network only the firewall of our own engine keeps it from. */
const ADDED_CAPABILITIES = capabilities
  .filter((name) => name !== 'CAP_NET_RAW')
  .map((name) => name.replace('CAP_', ''));
/** RFC 1123, which is what Kubernetes takes for a host. */
const HOSTNAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** The agent gets the signal first; whoever destroys waits for as long. */
export const GRACE_SECONDS = 1;
/** How long a node may be taken for lost (which takes the cluster 50 s by default) before it gives a sandbox up; 300 s without it. */
const UNREACHABLE_SECONDS = 30;
/** So long it takes until a lost node's Pods are given up: 50 s until the cluster takes it for lost, 10 s between two nodes, and as long as sandboxes bear it. */
export const NODE_LOST_SECONDS = 50 + 10 + UNREACHABLE_SECONDS;
/** That Kubernetes takes. */
const MAX_NAMESERVERS = 3;
/** Of its memory limit, what a node must have free for a sandbox. */
const MEMORY_REQUESTED = 1 / 4;

/** A volume of a sandbox. */
export interface PodVolume {
  readonly tree: VolumeMountId;
  /** Where programs see which directory of it. */
  readonly seen: readonly { readonly target: string; readonly path: string; readonly readOnly: boolean }[];
}

/** Where the agent has all of it, to read and to write; only root comes there. */
export const volumePath = (index: number): string => `${GUEST_ROOT}/.volumes/${index}`;

/** Files with certificates, beside the programs (`pod-trust.ts`). */
export type CertificateFile = 'ca-certificates.crt' | 'headers-ca-certificates.crt';

export interface SandboxPod {
  readonly id: InstanceId;
  readonly serverId: string;
  /** Of several servers that are one to the cluster, the one that has it; undefined where there is one. */
  readonly member: string | undefined;
  readonly namespace: string;
  readonly runtime: RuntimeName;
  readonly runtimeClass: string | undefined;
  readonly gpus: PodGpus | undefined;
  /** Those of the image, lowest first. */
  readonly layers: readonly LayerRef[];
  /** With its layers. */
  readonly image: string;
  /** With the agent and the link. */
  readonly agentImage: string;
  /** The file there whose certificates its programs are told to trust; undefined: those of its own image. */
  readonly certificates: CertificateFile | undefined;
  readonly volumes: readonly PodVolume[];
  readonly hostname: string;
  readonly limits: InstanceLimits;
  /** The uid of its Secret. */
  readonly owner: string;
  /** A Secret with the password of the registry; undefined where it takes none. */
  readonly pullSecret: string | undefined;
  /** Where the cluster's network holds Pods to one. */
  readonly network: NetworkPolicy | undefined;
  /** Address of the gateway that it asks for names, if it does (`gateway-pod.ts`). */
  readonly gateway: string | undefined;
  /** Who resolves names for it; none: whom its node asks. */
  readonly nameservers: readonly string[];
}

/** DER, as the link reads it. */
export interface LinkCredentials {
  readonly certificate: Buffer;
  readonly authority: Buffer;
  readonly key: Buffer;
}

/** Ids have capital letters, which no name of Kubernetes may have. */
export const podName = (serverId: string, id: InstanceId): string => nameOf(serverId, id);

/** A name for what is a server's: the same for the same words. */
export const nameOf = (serverId: string, what: string): string =>
  `skerry-${createHash('sha256').update(`${serverId}/${what}`).digest('hex').slice(0, 32)}`;

/** The instance that an object says it is of. */
export function instanceOf({ metadata }: { readonly metadata?: V1ObjectMeta }): InstanceId | undefined {
  const id = metadata?.labels?.[INSTANCE_LABEL] ?? '';
  return isInstanceId(id) ? id : undefined;
}

/** Which of several servers an object says has it. */
export const memberOf = ({ metadata }: { readonly metadata?: V1ObjectMeta }): string | undefined =>
  metadata?.labels?.[MEMBER_LABEL];

/** What selects those that one of several servers has. */
export const memberSelector = (member: string): string => `${MEMBER_LABEL}=${member}`;

export const memberMark = (member: string | undefined) => ({
  labels: member === undefined ? {} : { [MEMBER_LABEL]: member },
});

/** What of a Pod changes with its policy. */
export const policyMarks = (policy: NetworkPolicy) => ({
  labels: { [NETWORK_LABEL]: policy.kind },
  annotations: { [POLICY_ANNOTATION]: JSON.stringify(policy) },
});

/** @returns undefined for a Pod that was made where none are enforced */
export function policyOf({ metadata }: V1Pod): NetworkPolicy | undefined {
  const text = metadata?.annotations?.[POLICY_ANNOTATION];
  return text === undefined ? undefined : networkPolicySchema.parse(JSON.parse(text));
}

export const gatewayMark = (gateway: string) => ({ annotations: { [GATEWAY_ANNOTATION]: gateway } });

/** @returns the address of the gateway that it asks for names, if it does */
export const gatewayOf = ({ metadata }: V1Pod): string | undefined =>
  metadata?.annotations?.[GATEWAY_ANNOTATION];

/** @returns undefined for a Pod that was made before they were written down */
export function layersOf({ metadata }: V1Pod): readonly LayerRef[] | undefined {
  const text = metadata?.annotations?.[LAYERS_ANNOTATION];
  // They were layers when they were written there.
  return text === undefined
    ? undefined
    : (layersSchema.parse(JSON.parse(text)) as readonly string[] as readonly LayerRef[]);
}

export function podVolumesOf({ metadata }: V1Pod): readonly PodVolume[] {
  const text = metadata?.annotations?.[VOLUMES_ANNOTATION];
  return text === undefined ? [] : volumesSchema.parse(JSON.parse(text));
}

export const runtimeOf = ({ metadata }: V1Pod): RuntimeName =>
  Object.keys(SHARED_IN_GVISOR).every((key) => metadata?.annotations?.[key] !== undefined)
    ? 'gvisor'
    : 'runc';

export function devicesOf({ metadata }: V1Pod): readonly string[] {
  const text = metadata?.annotations?.[DEVICES_ANNOTATION];
  return text === undefined ? [] : devicesSchema.parse(JSON.parse(text));
}

/** What is noted of a Pod once its node has said which devices it has. */
export const deviceMarks = (environment: Readonly<Record<string, string>>) => ({
  [VARIABLES_ANNOTATION]: JSON.stringify(environment),
});

export function deviceEnvironmentOf({ metadata }: V1Pod): Readonly<Record<string, string>> {
  const text = metadata?.annotations?.[VARIABLES_ANNOTATION];
  return text === undefined ? {} : variablesSchema.parse(JSON.parse(text));
}

/** What says of which sandbox an object is, whoever has that. */
export const sandboxLabels = ({ id, serverId }: Pick<SandboxPod, 'id' | 'serverId'>) => ({
  ...MANAGED,
  [SERVER_LABEL]: serverId,
  [INSTANCE_LABEL]: id,
});

type Named = Pick<SandboxPod, 'id' | 'serverId' | 'member' | 'namespace'>;

const metadataOf = (of: Named) => ({
  name: podName(of.serverId, of.id),
  namespace: of.namespace,
  labels: { ...sandboxLabels(of), ...memberMark(of.member).labels },
});

/** Of an object that goes with a sandbox's Secret. */
export const ownedBySecret = (of: Named & Pick<SandboxPod, 'owner'>) => withOwner(metadataOf(of), of.owner);

/** Of an object that goes with the Secret of the same name. @param uid of that */
export const withOwner = <M extends { readonly name: string }>(metadata: M, uid: string) => ({
  ...metadata,
  ownerReferences: [{ apiVersion: 'v1', kind: 'Secret', name: metadata.name, uid }],
});

/** What every Pod of a server has: nothing of the cluster is its business. @param pullSecret @see SandboxPod.pullSecret */
export const aloneInCluster = (pullSecret: string | undefined) => ({
  ...(pullSecret !== undefined && { imagePullSecrets: [{ name: pullSecret }] }),
  terminationGracePeriodSeconds: GRACE_SECONDS,
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
});

export const secretOf = (of: Named, credentials: LinkCredentials): V1Secret => ({
  metadata: metadataOf(of),
  ...linkData(credentials),
});

/** What the link of a Pod shows and whom it believes, as a Secret has it. */
export const linkData = (credentials: LinkCredentials): Pick<V1Secret, 'data' | 'immutable'> => ({
  immutable: true,
  data: {
    certificate: credentials.certificate.toString('base64'),
    authority: credentials.authority.toString('base64'),
    key: credentials.key.toString('base64'),
  },
});

export const pullSecretName = (serverId: string): string => `skerry-${serverId}-registry`;

/** What nodes show the registry. It belongs to no sandbox, so none is told of it. */
export const pullSecretOf = (
  { serverId, namespace }: Pick<SandboxPod, 'serverId' | 'namespace'>,
  credentials: string,
): V1Secret => ({
  metadata: {
    name: pullSecretName(serverId),
    namespace,
    labels: MANAGED,
  },
  type: 'kubernetes.io/dockerconfigjson',
  data: { '.dockerconfigjson': Buffer.from(credentials).toString('base64') },
});

/** Before the cluster ends it for its node. */
export const TOLERATED_SILENCE = {
  ...{ key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
  tolerationSeconds: UNREACHABLE_SECONDS,
};

/** Whom a Pod asks for names. @param nameservers none: whom its node asks */
export const namesFrom = (nameservers: readonly string[]): Pick<V1PodSpec, 'dnsConfig' | 'dnsPolicy'> =>
  nameservers.length === 0
    ? { dnsPolicy: 'Default' }
    : { dnsPolicy: 'None', dnsConfig: { nameservers: nameservers.slice(0, MAX_NAMESERVERS) } };

/** @throws SkerryError `invalid-argument` for a hostname that no Pod can have */
export function podOf(pod: SandboxPod): V1Pod {
  if (!HOSTNAME.test(pod.hostname)) {
    const said = JSON.stringify(pod.hostname.slice(0, 100));
    throw new SkerryError('invalid-argument', `${said} is not a hostname that a Pod can have.`);
  }
  const { labels, ...metadata } = ownedBySecret(pod);
  const marks = pod.network && policyMarks(pod.network);
  const { gpus } = pod;
  const nodes = gpus && nodesWith(gpus.kind);
  return {
    metadata: {
      ...metadata,
      labels: { ...labels, ...marks?.labels },
      annotations: {
        [LAYERS_ANNOTATION]: JSON.stringify(pod.layers),
        ...(pod.volumes.length > 0 && { [VOLUMES_ANNOTATION]: JSON.stringify(pod.volumes) }),
        ...(gpus && { [DEVICES_ANNOTATION]: JSON.stringify(namesOf(gpus)) }),
        ...(pod.runtime === 'gvisor' && SHARED_IN_GVISOR),
        ...marks?.annotations,
        ...(pod.gateway !== undefined && gatewayMark(pod.gateway).annotations),
      },
    },
    spec: {
      hostname: pod.hostname,
      ...(pod.runtimeClass !== undefined && { runtimeClassName: pod.runtimeClass }),
      ...aloneInCluster(pod.pullSecret),
      restartPolicy: 'Never',
      tolerations: [TOLERATED_SILENCE, ...(gpus ? tolerationsOf(gpus.kind) : [])],
      ...(nodes && {
        affinity: {
          nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: nodes } },
        },
      }),
      ...namesFrom(pod.gateway === undefined ? pod.nameservers : [pod.gateway]),
      initContainers: [
        ours(
          pod,
          'install',
          [
            ...['install', GUEST_ROOT, String(pod.volumes.length)],
            ...(pod.certificates === undefined ? [] : [pod.certificates]),
          ],
          [{ name: AGENT_VOLUME, mountPath: GUEST_ROOT }],
        ),
      ],
      containers: [link(pod), sandbox(pod)],
      volumes: [
        { name: AGENT_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
        credentialsFrom(metadata.name),
        ...pod.volumes.map((_, index) => ({ name: volumeName(index), emptyDir: {} })),
      ],
    },
  };
}

/** It has the port before anything of the sandbox can run: that takes the server, which comes through it. */
const link = (pod: SandboxPod): V1Container =>
  ours(
    pod,
    LINK_CONTAINER,
    ['serve', `${GUEST_ROOT}/.run/agent.sock`, LINK_LISTENS, CREDENTIALS_DIR],
    [{ name: AGENT_VOLUME, mountPath: GUEST_ROOT }, CREDENTIALS_MOUNT],
  );

/** A container with the program of the link, which is in this image of ours. */
export const ours = (
  { agentImage }: Pick<SandboxPod, 'agentImage'>,
  name: string,
  args: readonly string[],
  volumeMounts: NonNullable<V1Container['volumeMounts']>,
): V1Container => ({
  name,
  image: agentImage,
  imagePullPolicy: 'IfNotPresent',
  command: ['/skerry-pod-link', ...args],
  env: [NO_GPUS],
  volumeMounts,
  resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '96Mi' } },
  securityContext: {
    // The socket is root's, as the agent is.
    runAsUser: 0,
    runAsGroup: 0,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
  },
});

export const credentialsFrom = (secretName: string) => ({
  name: CREDENTIALS_VOLUME,
  secret: { secretName, defaultMode: 0o400 },
});

const volumeName = (index: number): string => `volume-${index}`;

/** All of a volume for the agent, and what programs see of it. */
const mountsOf = ({ seen }: PodVolume, index: number): NonNullable<V1Container['volumeMounts']> => [
  { name: volumeName(index), mountPath: volumePath(index) },
  ...seen.map(({ target, path, readOnly }) => ({
    ...{ name: volumeName(index), mountPath: target, readOnly },
    ...(path !== '' && { subPath: path }),
  })),
];

/** A device for each that it has: the kind's name, as often. */
export const namesOf = ({ kind, count }: PodGpus): readonly string[] => Array(count).fill(kind.type);

const sandbox = ({ image, limits, volumes, gpus }: SandboxPod): V1Container => ({
  name: SANDBOX_CONTAINER,
  image,
  imagePullPolicy: 'IfNotPresent',
  command: [GUEST_AGENT],
  workingDir: '/',
  // What a plugin says counts less than what is said here: where it says which ones, nothing may be.
  env: gpus && isNvidias(gpus.kind) ? [] : [NO_GPUS],
  volumeMounts: [{ name: AGENT_VOLUME, mountPath: GUEST_ROOT, readOnly: true }, ...volumes.flatMap(mountsOf)],
  resources: {
    limits: {
      ...{ cpu: `${limits.milliCpu}m`, memory: `${limits.memoryMiB}Mi` },
      ...(gpus && { [gpus.kind.resource]: String(gpus.count) }),
    },
    requests: {
      cpu: `${Math.min(limits.milliCpuRequest, limits.milliCpu)}m`,
      memory: `${Math.ceil(limits.memoryMiB * MEMORY_REQUESTED)}Mi`,
    },
  },
  securityContext: {
    runAsUser: 0,
    runAsGroup: 0,
    capabilities: { drop: ['ALL'], add: ADDED_CAPABILITIES },
  },
});
