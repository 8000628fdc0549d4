/**
 * The clients' definition of a sandbox (docs/protocol/control-plane.md, section 8) made into ours. What Skerry cannot do is refused by name, never
 * dropped: a caller who asked for a volume or an egress rule must not get a sandbox without it.
 */

import type { App } from '../../../apps/apps.ts';
import type { ImageId, MountId } from '../../../ids.ts';
import {
  type GpuRequest,
  gpuType,
  MAX_GPUS,
  type NetworkPolicy,
  type OpenPort,
  type ReadinessProbe,
  type ResourceRequest,
  type RuntimeChoice,
  type SandboxSpec,
} from '../../../sandboxes/spec.ts';
import { type GPUConfig, GPUType, type Resources, type StringMap } from '../gen/modal/common_pb.ts';
import { type Probe, type Sandbox, type SandboxTag, TunnelType } from '../gen/modal/sandboxes_pb.ts';
import type { SecretSource } from '../gen/modal/secrets_pb.ts';
import { bucketMounts } from '../rpc/bucket-mounts.ts';
import {
  argv,
  inboundCidrs,
  integer,
  invalid,
  MAX_LIFETIME_S,
  networkPolicy,
  objectName,
  pty,
  ptyEnvironment,
  secretHeaders,
  secretSources,
  tags,
  unsupported,
  workdir,
} from '../rpc/fields.ts';
import { volumeMounts } from '../rpc/volume-mounts.ts';
import { checkPlacement } from './placement.ts';

/** All three clients' default, seconds. */
const DEFAULT_TIMEOUT_S = 300;
const DEFAULT_PROBE_INTERVAL_MS = 100;
const MAX_MOUNTS = 256;
const MAX_OPEN_PORTS = 64;
/** 16 TiB and 4096 cores: beyond any machine, within every number type on the way. */
const MAX_MEMORY_MIB = 1 << 24;
const MAX_MILLI_CPU = 4_096_000;
/** 4 PiB, beyond any machine. */
const MAX_DISK_MIB = 0xffff_ffff;
/** Named as the parameter of the Python client's functions, which its sandboxes lack; MiB. */
const DISK_OPTION = 'ephemeral_disk';

/** A definition with what travels beside it in the create requests. */
export interface SandboxRequest {
  readonly definition: Sandbox | undefined;
  readonly tags: readonly SandboxTag[];
  readonly secretSources: readonly SecretSource[];
  /** V2's `ephemeral_secrets`, of older clients. */
  readonly ephemeralSecrets: Readonly<Record<string, string>>;
  /** Of buckets whose secret has no id, by where they are mounted. */
  readonly bucketCredentials?: Readonly<Record<string, StringMap>>;
}

/** @throws SkerryError `invalid-argument`, `unimplemented`, naming the field */
export function toSandboxSpec(request: SandboxRequest, app: Pick<App, 'id' | 'environmentId'>): SandboxSpec {
  const { definition } = request;
  if (!definition) throw invalid('definition is missing.');
  refuseUnsupported(definition);
  checkPlacement(definition.cloudProviderStr, definition.schedulerPlacement?.regions ?? []);
  return {
    appId: app.id,
    environmentId: app.environmentId,
    imageId: imageId(definition.imageId),
    name: definition.name ? objectName(definition.name, 'name') : undefined,
    tags: tags(request.tags),
    args: argv(definition.entrypointArgs, 'entrypoint_args'),
    secretSources: [
      ...ptyEnvironment(definition.ptyInfo),
      ...secretSources(definition.secretIds, request.secretSources, [
        definition.environmentVariables?.contents ?? {},
        request.ephemeralSecrets,
      ]),
    ],
    workdir: workdir(definition.workdir),
    timeoutMs: integer(definition.timeoutSecs || DEFAULT_TIMEOUT_S, 'timeout_secs', 1, MAX_LIFETIME_S) * 1000,
    idleTimeoutMs:
      definition.idleTimeoutSecs === undefined
        ? undefined
        : integer(definition.idleTimeoutSecs, 'idle_timeout_secs', 1, MAX_LIFETIME_S) * 1000,
    resources: resources(definition.resources, definition.experimentalOptionsV2[DISK_OPTION]),
    ...gpu(definition.resources?.gpuConfig),
    network: network(definition),
    ...headers(definition),
    ...(definition.inboundCidrAllowlist.length > 0 && {
      inboundCidrs: inboundCidrs(definition.inboundCidrAllowlist),
    }),
    runtime: runtime(definition.runtime),
    pty: pty(definition.ptyInfo),
    verbose: definition.verbose,
    readinessProbe: readinessProbe(definition.readinessProbe),
    ...(definition.enableSnapshot && { memorySnapshots: true }),
    exitSnapshot: [...experimentalOptions(definition)].includes(EXIT_SNAPSHOT),
    mountIds: mountIds(definition.mountIds),
    volumes: volumeMounts(definition.volumeMounts),
    ...openPorts(definition.openPortsOneof),
    ...buckets(definition, request.bucketCredentials ?? {}),
    externalKey: undefined,
  };
}

/** Most have none. */
function buckets(
  { cloudBucketMounts }: Sandbox,
  credentials: Readonly<Record<string, StringMap>>,
): Pick<SandboxSpec, 'buckets'> {
  const specs = bucketMounts(cloudBucketMounts, credentials);
  return specs.length > 0 ? { buckets: specs } : {};
}

/** Fields that are not in our subset of the schema, by their names in the clients' schema. */
const unknownFieldNames: Readonly<Record<number, string>> = {
  9: 'nfs_mounts (network file systems)',
  12: 's3_mounts',
  44: 'outbound_policy (routes)',
};

function refuseUnsupported(definition: Sandbox): void {
  const refuse = (given: unknown, what: string) => {
    if (given) throw unsupported(what);
  };
  refuse(definition.proxyId, 'proxy_id (static outbound addresses).');
  refuse(definition.customDomain, 'custom_domain.');
  refuse(definition.i6pnEnabled, 'i6pn_enabled (networks between sandboxes).');
  refuse(definition.includeOidcIdentityToken, 'include_oidc_identity_token.');
  refuse(definition.includeX509Svid, 'include_x509_svid.');
  for (const name of experimentalOptions(definition)) {
    refuse(
      ![EXIT_SNAPSHOT, DISK_OPTION, AUDIT_OPTION].includes(name),
      `the experimental option ${JSON.stringify(name.slice(0, 64))}.`,
    );
  }
  for (const { no } of definition.$unknown ?? []) {
    throw unsupported(
      `${unknownFieldNames[no] ?? `field ${no} of the sandbox definition, which it does not know`}.`,
    );
  }
}

/** The experimental option that the clients document for it. */
const EXIT_SNAPSHOT = 'enable_exit_snapshot';

/** What is to be told in the sandbox's log besides what always is. */
const AUDIT_OPTION = 'audit';

function network(definition: Sandbox): NetworkPolicy {
  const policy = networkPolicy(definition.networkAccess, definition.blockNetwork);
  const audit = definition.experimentalOptionsV2[AUDIT_OPTION];
  if (audit === undefined || audit === '') return policy;
  if (audit !== 'network') throw invalid('the experimental option audit must be "network".');
  return { ...policy, audited: true };
}

/** Most have none. As the clients have it: not without a network. */
function headers({
  experimentalOutboundPolicy: policy,
  ...definition
}: Sandbox): Pick<SandboxSpec, 'secretHeaders'> {
  if (!policy) return {};
  if (networkPolicy(definition.networkAccess, definition.blockNetwork).kind === 'blocked')
    throw invalid('experimental_outbound_policy and a blocked network exclude each other.');
  return { secretHeaders: secretHeaders(policy) };
}

/** Names of those that are on. */
function* experimentalOptions(definition: Sandbox): Generator<string> {
  for (const [name, value] of Object.entries(definition.experimentalOptionsV2)) {
    if (!['', '0', 'none', 'false'].includes(value.toLowerCase())) yield name;
  }
  for (const [name, value] of Object.entries(definition.experimentalOptions)) if (value) yield name;
}

function imageId(value: string): ImageId {
  if (!/^im-[A-Za-z0-9]{1,64}$/.test(value))
    throw invalid(`image_id ${JSON.stringify(value.slice(0, 64))} is no image id.`);
  return value as ImageId; // has the shape; whether it exists is the domain's to say
}

function mountIds(ids: readonly string[]): readonly MountId[] {
  if (ids.length > MAX_MOUNTS) throw invalid(`mount_ids has more than ${MAX_MOUNTS} items.`);
  for (const id of ids) {
    if (!/^mo-[A-Za-z0-9]{1,64}$/.test(id))
      throw invalid(`mount_ids: ${JSON.stringify(id.slice(0, 64))} is no mount id.`);
  }
  return ids as readonly MountId[]; // each has the shape
}

/** The clients have a list for each kind; a port that is in several is of each of these kinds. */
function openPorts(wire: Sandbox['openPortsOneof']): { openPorts?: readonly OpenPort[] } {
  if (wire.case !== 'openPorts' || wire.value.ports.length === 0) return {};
  const ports = new Map<number, OpenPort>();
  for (const each of wire.value.ports) {
    const port = integer(each.port, 'open_ports: port', 1, 0xffff);
    const before = ports.get(port);
    ports.set(port, {
      port,
      h2: before?.h2 || each.tunnelType === TunnelType.H2,
      plain: before?.plain || each.unencrypted,
    });
  }
  if (ports.size > MAX_OPEN_PORTS) throw invalid(`open_ports has more than ${MAX_OPEN_PORTS} ports.`);
  return { openPorts: [...ports.values()] };
}

/** @param disk the experimental option, by which the clients can ask for what they have no parameter for */
function resources(wire: Resources | undefined, disk: string | undefined): ResourceRequest {
  if (wire?.rdma) throw unsupported('resources.rdma.');
  const result = {
    memoryMiB: integer(wire?.memoryMb ?? 0, 'resources.memory_mb', 0, MAX_MEMORY_MIB),
    memoryLimitMiB: integer(wire?.memoryMbMax ?? 0, 'resources.memory_mb_max', 0, MAX_MEMORY_MIB),
    milliCpu: integer(wire?.milliCpu ?? 0, 'resources.milli_cpu', 0, MAX_MILLI_CPU),
    milliCpuLimit: integer(wire?.milliCpuMax ?? 0, 'resources.milli_cpu_max', 0, MAX_MILLI_CPU),
    diskMiB:
      disk === undefined
        ? integer(wire?.ephemeralDiskMb ?? 0, 'resources.ephemeral_disk_mb', 0, MAX_DISK_MIB)
        : diskMiB(disk),
  };
  if (result.memoryLimitMiB && result.memoryLimitMiB < result.memoryMiB) {
    throw invalid('resources.memory_mb_max is below resources.memory_mb.');
  }
  if (result.milliCpuLimit && result.milliCpuLimit < result.milliCpu) {
    throw invalid('resources.milli_cpu_max is below resources.milli_cpu.');
  }
  return result;
}

/** How older clients name what they have objects for. */
const olderNames: Readonly<Record<GPUType, string>> = {
  [GPUType.GPU_TYPE_UNSPECIFIED]: '',
  [GPUType.GPU_TYPE_T4]: 'T4',
  [GPUType.GPU_TYPE_A100]: 'A100',
  [GPUType.GPU_TYPE_A10G]: 'A10G',
  [GPUType.GPU_TYPE_ANY]: 'ANY',
  [GPUType.GPU_TYPE_A100_80GB]: 'A100-80GB',
  [GPUType.GPU_TYPE_L4]: 'L4',
  [GPUType.GPU_TYPE_H100]: 'H100',
  [GPUType.GPU_TYPE_L40S]: 'L40S',
  [GPUType.GPU_TYPE_H200]: 'H200',
};

/** Clients send the message empty for none. */
function gpu(wire: GPUConfig | undefined): { gpu?: GpuRequest } {
  if (!wire || (wire.count === 0 && wire.type === 0 && wire.gpuType === '')) return {};
  // A type that this version of the schema does not know is a number without a name.
  const name = wire.gpuType || (olderNames[wire.type] ?? '');
  const type = gpuType(name);
  if (type === undefined) throw invalid(`gpu: ${JSON.stringify(name.slice(0, 64))} is no type of GPU.`);
  return { gpu: { type, count: integer(wire.count, 'resources.gpu_config.count', 1, MAX_GPUS) } };
}

function diskMiB(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text))
    throw invalid(`the experimental option ${DISK_OPTION} must be a number of MiB.`);
  return integer(Number(text), `the experimental option ${DISK_OPTION}`, 1, MAX_DISK_MIB);
}

function runtime(name: string | undefined): RuntimeChoice | undefined {
  switch (name ?? '') {
    case '':
      return undefined;
    case 'gvisor':
    case 'runc':
      return name as RuntimeChoice; // one of the two literals above
    case 'vm':
      throw unsupported('the runtime "vm": use "gvisor".');
    default:
      throw invalid('runtime must be "gvisor" or "runc".');
  }
}

function readinessProbe(probe: Probe | undefined): ReadinessProbe | undefined {
  if (!probe) return undefined;
  const intervalMs = integer(
    probe.intervalMs || DEFAULT_PROBE_INTERVAL_MS,
    'readiness_probe.interval_ms',
    10,
    3_600_000,
  );
  const { probeOneof } = probe;
  switch (probeOneof.case) {
    case 'tcpPort':
      return {
        check: { kind: 'tcp', port: integer(probeOneof.value, 'readiness_probe.tcp_port', 1, 65_535) },
        intervalMs,
      };
    case 'execCommand': {
      const command = argv(probeOneof.value.argv, 'readiness_probe.exec_command');
      if (!command[0]) throw invalid('readiness_probe.exec_command is empty.');
      return { check: { kind: 'exec', argv: command }, intervalMs };
    }
    default:
      throw invalid('readiness_probe is neither a TCP port nor a command.');
  }
}
