/** The gateway of a server's sandboxes as Kubernetes has it: a Pod with the egress proxy, and a link to it as a sandbox's Pod has one to its agent. */
import type { V1Container, V1Pod, V1Secret } from '@kubernetes/client-node';
import {
  aloneInCluster,
  CREDENTIALS_DIR,
  CREDENTIALS_MOUNT,
  credentialsFrom,
  LINK_CONTAINER,
  LINK_LISTENS,
  type LinkCredentials,
  linkData,
  MANAGED,
  memberMark,
  NETWORK_LABEL,
  NO_GPUS,
  nameOf,
  namesFrom,
  ours,
  SERVER_LABEL,
  TOLERATED_SILENCE,
  withOwner,
} from './pod-spec.ts';

/** What sandboxes reach it at: questions for names, TLS, HTTP. */
export const NAMES_PORT = 53;
export const HOST_PORTS = [443, 80];

export const PROXY_CONTAINER = 'egress';

const RUN_VOLUME = 'run';
const RUN_DIR = '/run/skerry';
const CONTROL_SOCKET = `${RUN_DIR}/egress.sock`;
/** It is no sandbox: no policy of these is for it. */
const GATEWAY = { [NETWORK_LABEL]: 'gateway' } as const;

export interface GatewayParts {
  readonly serverId: string;
  readonly namespace: string;
  /** @see SandboxPod.member */
  readonly member: string | undefined;
  /** With the link and the proxy. */
  readonly agentImage: string;
  /** The uid of its Secret. */
  readonly owner: string;
  readonly pullSecret: string | undefined;
  readonly nameservers: readonly string[];
}

type Named = Pick<GatewayParts, 'member' | 'namespace' | 'serverId'>;

/** Of its Pod and its Secret. Each of several servers has a gateway of its own. */
export const gatewayName = ({ serverId, member = '' }: Pick<Named, 'member' | 'serverId'>): string =>
  nameOf(serverId, `gateway/${member}`);

/** What selects the gateways of a server. */
export const gatewayLabels = (serverId: string) => ({ [SERVER_LABEL]: serverId, ...GATEWAY });

export const isGateway = ({ metadata }: V1Pod | V1Secret): boolean =>
  metadata?.labels?.[NETWORK_LABEL] === GATEWAY[NETWORK_LABEL];

const metadataOf = (of: Named) => ({
  name: gatewayName(of),
  namespace: of.namespace,
  labels: { ...MANAGED, ...gatewayLabels(of.serverId), ...memberMark(of.member).labels },
});

export const gatewaySecretOf = (of: Named, credentials: LinkCredentials): V1Secret => ({
  metadata: metadataOf(of),
  ...linkData(credentials),
});

export function gatewayPodOf(parts: GatewayParts): V1Pod {
  const metadata = metadataOf(parts);
  const { agentImage, owner, pullSecret, nameservers } = parts;
  return {
    metadata: withOwner(metadata, owner),
    spec: {
      ...aloneInCluster(pullSecret),
      // Sandboxes go on while it starts anew, and have no way out meanwhile.
      restartPolicy: 'Always',
      tolerations: [TOLERATED_SILENCE],
      ...namesFrom(nameservers),
      containers: [
        ours(
          { agentImage },
          LINK_CONTAINER,
          ['lead', CONTROL_SOCKET, LINK_LISTENS, CREDENTIALS_DIR],
          [{ name: RUN_VOLUME, mountPath: RUN_DIR }, CREDENTIALS_MOUNT],
        ),
        proxy(agentImage),
      ],
      volumes: [
        { name: RUN_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        credentialsFrom(metadata.name),
      ],
    },
  };
}

const proxy = (image: string): V1Container => ({
  name: PROXY_CONTAINER,
  image,
  imagePullPolicy: 'IfNotPresent',
  command: [
    '/skerry-egress',
    ...['--identity', 'gateway', '--listen', '$(POD_IP)', '--control', CONTROL_SOCKET],
    ...['--resolver', '/etc/resolv.conf', '--stays', 'true', '--gateway', 'true'],
  ],
  env: [NO_GPUS, { name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
  volumeMounts: [{ name: RUN_VOLUME, mountPath: RUN_DIR }],
  resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '256Mi' } },
  securityContext: {
    runAsUser: 0,
    runAsGroup: 0,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
  },
});
