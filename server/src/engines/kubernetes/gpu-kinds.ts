/**
 * GPUs of a cluster, by the names that they are asked for with: which resource of its nodes each is, and which labels tell nodes that have it. What there is of
 * them and who has it the cluster's scheduler knows, and nobody else: a server may look at no node.
 */
import type { V1NodeSelectorTerm, V1Toleration } from '@kubernetes/client-node';
import { SkerryError } from '../../errors/skerry-error.ts';
import { typesOfName } from '../oci/gpus/gpu-types.ts';

export interface GpuKind {
  /** In capitals: `A100`; ANY: whichever is free. */
  readonly type: string;
  /** As a device plugin calls it: `nvidia.com/gpu`. */
  readonly resource: string;
  /** Of these a node has to have one; none: the resource alone says enough. */
  readonly labels: readonly NodeLabel[];
}

interface NodeLabel {
  readonly key: string;
  readonly values: readonly string[];
}

/** GPUs that one sandbox is to have. */
export interface PodGpus {
  readonly kind: GpuKind;
  /** At least 1. */
  readonly count: number;
}

/** For whoever asks for no type. */
const ANY = 'ANY';
const NVIDIA = 'nvidia.com/gpu';
/** NVIDIA's GPU feature discovery: the model as its driver calls it, with dashes. A shared one (`-SHARED`) and a part of one (`-MIG-1g.5gb`) have other values, and are none of these. */
const PRODUCT_LABEL = 'nvidia.com/gpu.product';
/** Google's: https://cloud.google.com/kubernetes-engine/docs/how-to/gpus */
const GKE_LABEL = 'cloud.google.com/gke-accelerator';

const PRODUCTS: Readonly<Record<string, readonly string[]>> = {
  T4: ['Tesla-T4'],
  L4: ['NVIDIA-L4'],
  A10: ['NVIDIA-A10'],
  A10G: ['NVIDIA-A10G'],
  L40S: ['NVIDIA-L40S'],
  // Drivers before 470 leave the maker out.
  'A100-40GB': ['NVIDIA-A100-SXM4-40GB', 'NVIDIA-A100-PCIE-40GB', 'A100-SXM4-40GB', 'A100-PCIE-40GB'],
  'A100-80GB': ['NVIDIA-A100-SXM4-80GB', 'NVIDIA-A100-80GB-PCIe', 'A100-SXM4-80GB'],
  H100: ['NVIDIA-H100-80GB-HBM3', 'NVIDIA-H100-PCIe', 'NVIDIA-H100-NVL'],
  H200: ['NVIDIA-H200', 'NVIDIA-H200-NVL'],
  B200: ['NVIDIA-B200'],
  B300: ['NVIDIA-B300-SXM6-AC'],
  'RTX-PRO-6000': ['NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition'],
};
const GKE: Readonly<Record<string, readonly string[]>> = {
  T4: ['nvidia-tesla-t4'],
  L4: ['nvidia-l4'],
  'A100-40GB': ['nvidia-tesla-a100'],
  'A100-80GB': ['nvidia-a100-80gb'],
  H100: ['nvidia-h100-80gb', 'nvidia-h100-mega-80gb'],
  H200: ['nvidia-h200-141gb'],
  B200: ['nvidia-b200'],
  'RTX-PRO-6000': ['nvidia-rtx-pro-6000'],
};

/** `RESOURCE:TYPE` or `RESOURCE@LABEL=VALUE:TYPE`, in the syntax of Kubernetes: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const NAMED =
  /^(?<resource>[a-z0-9.-]+\/[A-Za-z0-9._-]+)(?:@(?<key>(?:[a-z0-9.-]+\/)?[A-Za-z0-9._-]+)=(?<value>[A-Za-z0-9._-]+))?:(?<type>[^:@=]+)$/;

/**
 * All that can be asked for, each type once.
 * @param named `--gpu-types`: a type that is named there is what is said there and nothing else
 * @throws SkerryError `invalid-argument` for what names no resource
 */
export function gpuKinds(named: readonly string[]): readonly GpuKind[] {
  const own = merged(named.flatMap(parse));
  const taken = new Set(own.map(({ type }) => type));
  const known = merged(Object.keys(PRODUCTS).flatMap(knownAs));
  const any: GpuKind = { type: ANY, resource: NVIDIA, labels: [] };
  return [...own, ...[any, ...known].filter(({ type }) => !taken.has(type))];
}

function parse(entry: string): readonly GpuKind[] {
  const { resource, key, value, type } = NAMED.exec(entry)?.groups ?? {};
  if (resource === undefined || type === undefined) {
    const said = `--gpu-types: ${JSON.stringify(entry)} names no resource of a cluster. There it is RESOURCE:TYPE, or RESOURCE@LABEL=VALUE:TYPE with a label of nodes.`;
    throw new SkerryError('invalid-argument', said);
  }
  const labels = key !== undefined && value !== undefined ? [{ key, values: [value] }] : [];
  return typesOfName(type).map((each) => ({ type: each, resource, labels }));
}

function knownAs(type: string): readonly GpuKind[] {
  const labels = [
    { key: PRODUCT_LABEL, values: PRODUCTS[type] ?? [] },
    { key: GKE_LABEL, values: GKE[type] ?? [] },
  ].filter(({ values }) => values.length > 0);
  return typesOfName(type).map((each) => ({ type: each, resource: NVIDIA, labels }));
}

/** Those of one type are one, as far as a Pod can ask for either: it can for nodes of either label, not for either resource. The first resource counts. */
function merged(kinds: readonly GpuKind[]): readonly GpuKind[] {
  return [...Map.groupBy(kinds, ({ type }) => type)].flatMap(([type, [first, ...others]]) => {
    if (!first) return [];
    const all = [first, ...others.filter(({ resource }) => resource === first.resource)];
    const either = all.some(({ labels }) => labels.length === 0) ? [] : all.flatMap(({ labels }) => labels);
    const labels = [...Map.groupBy(either, ({ key }) => key)].map(([key, same]) => ({
      key,
      values: [...new Set(same.flatMap(({ values }) => values))],
    }));
    return [{ type, resource: first.resource, labels }];
  });
}

/** Which nodes have them, of which one term is enough; undefined: whichever have the resource. */
export const nodesWith = ({ labels }: GpuKind): V1NodeSelectorTerm[] | undefined =>
  labels.length === 0
    ? undefined
    : labels.map(({ key, values }) => ({ matchExpressions: [{ key, operator: 'In', values: [...values] }] }));

/** What keeps other Pods from nodes with GPUs, by custom: a taint that is called like the resource, or, of parts of one, like the whole. */
export function tolerationsOf({ resource }: GpuKind): V1Toleration[] {
  const whole = `${resource.split('/')[0]}/gpu`;
  return [...new Set([resource, whole])].map((key) => ({ key, operator: 'Exists', effect: 'NoSchedule' }));
}

/** Whether NVIDIA's device plugin hands it out, which tells NVIDIA's runtime by a variable which ones. */
export const isNvidias = ({ resource }: GpuKind): boolean => resource.startsWith('nvidia.com/');

/** "2 × nvidia.com/gpu of type A100" */
export const inWords = ({ kind: { type, resource }, count }: PodGpus): string =>
  `${count} × ${resource}${type === ANY ? '' : ` of type ${type}`}`;
