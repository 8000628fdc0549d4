/** What the status of a sandbox's Pod means: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ */
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import type { InstanceExit } from '../engine.ts';
import { LINK_CONTAINER, SANDBOX_CONTAINER } from './pod-spec.ts';

export type PodStanding =
  /** On its way, or there; `address` once it has one, `hindrance` says what it waits for, if that is known. */
  | { readonly kind: 'up'; readonly address: string | undefined; readonly hindrance: string | undefined }
  /** Nothing will come of it any more. */
  | { readonly kind: 'over'; readonly exit: InstanceExit };

const DELETED = 'Its Pod was deleted by somebody else.';
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
  if (metadata?.deletionTimestamp) return crashed(DELETED);
  const waiting = all.flatMap(({ state }) => (state?.waiting ? [state.waiting] : []));
  const hopeless = waiting.find(({ reason = '' }) => HOPELESS.has(reason));
  if (hopeless) return crashed(`Its Pod cannot start: ${words(hopeless.reason, hopeless.message)}.`);
  return { kind: 'up', address: status?.podIP || undefined, hindrance: hindranceOf(status, waiting) };
}

function hindranceOf(
  status: V1Pod['status'],
  waiting: readonly NonNullable<NonNullable<V1ContainerStatus['state']>['waiting']>[],
): string | undefined {
  const unscheduled = status?.conditions?.find(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  );
  if (unscheduled) return words(unscheduled.reason, unscheduled.message);
  const container = waiting.find(({ message }) => message);
  return container && words(container.reason, container.message);
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

/** Bounded: a message may hold what a registry or a program said. */
const words = (reason: string | undefined, message: string | undefined): string =>
  [reason, message]
    .filter((part) => part)
    .join(': ')
    .slice(0, 500)
    .replace(/\.$/, '');
