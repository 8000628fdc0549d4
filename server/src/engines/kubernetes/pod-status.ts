/** What the status of a sandbox's Pod means: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ */
import type { V1Pod } from '@kubernetes/client-node';
import type { InstanceExit } from '../engine.ts';
import { LINK_CONTAINER, SANDBOX_CONTAINER } from './pod-spec.ts';

/** On its way, or there. */
export interface PodUp {
  readonly kind: 'up';
  /** Once it has one. */
  readonly address: string | undefined;
  /** What it waits for, if that is known. */
  readonly hindrance: string | undefined;
  /** No node has room for it now. */
  readonly lacksRoom: boolean;
}

export type PodStanding =
  | PodUp
  /** Nothing will come of it any more. */
  | { readonly kind: 'over'; readonly exit: InstanceExit };

const DELETED = 'Its Pod was deleted by somebody else.';
/** Of the condition that says why a Pod goes: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions */
const BY_TAINT = 'DeletionByTaintManager';
/** Reasons of a waiting container that time does not heal. */
const HOPELESS: ReadonlySet<string> = new Set([
  'CreateContainerConfigError',
  'CreateContainerError',
  'ErrImageNeverPull',
  'ImagePullBackOff',
  'InvalidImageName',
  'RunContainerError',
  'StartError',
]);

/** @param pod undefined: it is no longer there, and this server has not deleted it */
export function standingOf(pod: V1Pod | undefined): PodStanding {
  if (!pod) return crashed(DELETED);
  const { metadata, status } = pod;
  const containers = status?.containerStatuses ?? [];
  const all = [...(status?.initContainerStatuses ?? []), ...containers];
  const named = (name: string) => containers.find((container) => container.name === name)?.state?.terminated;
  const sandbox = named(SANDBOX_CONTAINER);
  if (sandbox?.reason === 'OOMKilled') return { kind: 'over', exit: { reason: 'out-of-memory' } };
  if (sandbox) return crashed(`Its first process ended: ${ending(sandbox)}.`);
  const link = named(LINK_CONTAINER);
  if (link) return crashed(`The way to its agent is gone: ${ending(link)}.`);
  if (status?.phase === 'Failed' || status?.phase === 'Succeeded') {
    return crashed(`Its Pod is over: ${words(status.reason, status.message) || status.phase}.`);
  }
  if (metadata?.deletionTimestamp) return crashed(deletion(pod));
  const waiting = all.flatMap(({ state }) => (state?.waiting ? [state.waiting] : []));
  const hopeless = waiting.find(({ reason = '' }) => HOPELESS.has(reason));
  if (hopeless) return crashed(`Its Pod cannot start: ${words(hopeless.reason, hopeless.message)}.`);
  const unscheduled = status?.conditions?.find(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  );
  const cause = unscheduled ?? waiting.find(({ message }) => message);
  return {
    kind: 'up',
    address: status?.podIP || undefined,
    hindrance: cause && words(cause.reason, cause.message),
    lacksRoom: unscheduled?.reason === 'Unschedulable',
  };
}

/** Its sandbox ends with it. */
export const NODE_LOST = 'Its node does not answer any more.';

/** Whether the cluster has not heard of its node for so long that it calls the Pod unready in the node's place, which would tell of containers that ended. */
export const isSilent = ({ status }: V1Pod): boolean =>
  status?.phase === 'Running' &&
  status.conditions?.find(({ type }) => type === 'Ready')?.status === 'False' &&
  (status.containerStatuses ?? []).every(({ state }) => state?.running);

/** Whether nobody will ever say that it is gone: its node is silent, and it was given up for that, or nobody has deleted it yet. */
export const isLost = (pod: V1Pod): boolean =>
  isSilent(pod) && (pod.metadata?.deletionTimestamp === undefined || isGivenUp(pod));

/** Whether the cluster took it from its node, which may be silent or only closed to it. */
export const isGivenUp = (pod: V1Pod): boolean => disruption(pod)?.reason === BY_TAINT;

const disruption = ({ status }: V1Pod) =>
  status?.conditions?.find(({ type, status }) => type === 'DisruptionTarget' && status === 'True');

function deletion(pod: V1Pod): string {
  const { reason, message } = disruption(pod) ?? {};
  if (reason === undefined) return DELETED;
  if (reason !== BY_TAINT) return `Its Pod was evicted: ${words(reason, message)}.`;
  if (isSilent(pod)) return NODE_LOST;
  // Of one that never ran nobody says which.
  return pod.status?.phase === 'Pending' ? 'Its node is lost, or closed to it.' : 'Its node is closed to it.';
}

const crashed = (message: string): PodStanding => ({ kind: 'over', exit: { reason: 'crashed', message } });

const ending = ({
  reason,
  exitCode,
  signal,
  message,
}: {
  readonly reason?: string;
  readonly exitCode: number;
  readonly signal?: number;
  readonly message?: string;
}): string =>
  words(reason, message || (signal ? `signal ${signal}` : `exit code ${exitCode}`)) ||
  `exit code ${exitCode}`;

/** What is said of a Pod, in one line without a full stop. Bounded: it may hold what a registry or a program said. */
export const words = (reason: string | undefined, message: string | undefined): string =>
  [reason, message]
    .filter((part) => part)
    .join(': ')
    .slice(0, 500)
    .replace(/\.$/, '');
