/** The objects of one server in a namespace of a cluster: made, removed, and followed by one watch. */
import {
  ApiException,
  AuthorizationV1Api,
  type Configuration,
  CoreV1Api,
  type CoreV1Event,
  createConfiguration,
  KubeConfig,
  makeInformer,
  NetworkingV1Api,
  PatchStrategy,
  ServerConfiguration,
  setHeaderOptions,
  type V1NetworkPolicy,
  type V1Pod,
  type V1Secret,
  VersionApi,
} from '@kubernetes/client-node';
import { SkerryError } from '../../errors/skerry-error.ts';
import { delay, withDeadline } from '../../platform/wait.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Labels, Marked } from './pod-marks.ts';
import { GRACE_SECONDS, memberMark, memberOf, memberSelector, SERVER_LABEL } from './pod-spec.ts';
import { isGivenUp, isLost, words } from './pod-status.ts';
import type { Right } from './rights.ts';

/** How long a Pod may take to be gone: a node that does not answer keeps it until the cluster gives it up, and one that the cluster gave up never tells. */
export const REMOVAL_TIMEOUT_MS = 60_000;
/** Of one answer: a server of the API that goes away while it is asked says nothing, for minutes. */
const ANSWER_TIMEOUT_MS = 60_000;
/** Before a watch that failed is begun again. */
const WATCH_PAUSE_MS = 1000;
/** Before a Pod is claimed again. */
const CLAIM_PAUSE_MS = 1000;
const PAGE = 500;

/** Told of each change; undefined once the Pod is gone. */
type Follower = (pod: V1Pod | undefined) => void;

export interface ClusterOptions {
  /** A kubeconfig file; empty for the one of a Pod's service account, when this runs in a cluster. */
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly serverId: string;
  /** Where several servers are one to the cluster: the one that this is, which is told of its own Pods only. Undefined: of all. */
  readonly member: string | undefined;
  /** Called with a Pod of this one that another one claimed. */
  readonly onClaimed?: (pod: V1Pod) => void;
  /** What each call may take; a minute by default. */
  readonly answerTimeoutMs?: number | undefined;
  /** How long a Pod may take to be gone; a minute by default. */
  readonly removalTimeoutMs?: number | undefined;
  readonly logger: Logger;
}

export class Cluster {
  readonly #options: ClusterOptions;
  /** Of what is this server's, whichever of several has it. */
  readonly #selector: string;
  readonly #core: CoreV1Api;
  readonly #networking: NetworkingV1Api;
  readonly #authorization: AuthorizationV1Api;
  readonly #version: VersionApi;
  readonly #pods: ReturnType<typeof makeInformer<V1Pod>>;
  readonly #followers = new Map<string, Set<Follower>>();
  readonly #closing = new AbortController();

  /** @throws SkerryError `invalid-argument` for a file that cannot be read or is none */
  constructor(options: ClusterOptions) {
    this.#options = options;
    const { namespace, serverId, member } = options;
    const config = loadConfig(options.kubeconfig);
    const { answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
    const client = <Api>(type: new (configuration: Configuration) => Api): Api =>
      makeBoundedClient(config, type, answerTimeoutMs);
    this.#core = client(CoreV1Api);
    this.#networking = client(NetworkingV1Api);
    this.#authorization = client(AuthorizationV1Api);
    this.#version = client(VersionApi);
    this.#selector = `${SERVER_LABEL}=${serverId}`;
    const labelSelector =
      member === undefined ? this.#selector : `${this.#selector},${memberSelector(member)}`;
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const list = () => this.#core.listNamespacedPod({ namespace, labelSelector });
    this.#pods = makeInformer<V1Pod>(config, path, list, labelSelector);
    for (const verb of ['add', 'update'] as const) this.#pods.on(verb, (pod) => this.#tell(pod, pod));
    this.#pods.on('delete', (pod) => void this.#lose(pod));
    this.#pods.on('error', (err) => void this.#watchAgain(err));
  }

  /** Begins to follow. @throws SkerryError `unavailable` when the cluster does not answer or does not let this server do so */
  async open(): Promise<void> {
    await asked(() =>
      this.#core.listNamespacedPod({
        namespace: this.#options.namespace,
        labelSelector: this.#selector,
        limit: 1,
      }),
    );
    await this.#pods.start();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#pods.stop();
  }

  /** As the cluster says it: `v1.34.4`. @throws SkerryError `unavailable` */
  async version(): Promise<string> {
    return (await asked(() => this.#version.getCode())).gitVersion;
  }

  /** Those of `rights` that this server does not have, as `delete secrets`. @throws SkerryError `unavailable` */
  async missing(rights: readonly Right[]): Promise<readonly string[]> {
    const wanted = rights.flatMap(({ apiGroup: group, resource, verbs }) =>
      verbs.map((verb) => ({ group, resource, verb })),
    );
    const has = await Promise.all(wanted.map((right) => this.#may(right)));
    return wanted.filter((_, index) => !has[index]).map(({ verb, resource }) => `${verb} ${resource}`);
  }

  async #may(right: { readonly group: string; readonly resource: string; readonly verb: string }) {
    const body = { spec: { resourceAttributes: { ...right, namespace: this.#options.namespace } } };
    const review = await asked(() => this.#authorization.createSelfSubjectAccessReview({ body }));
    return review.status?.allowed === true;
  }

  /** @returns its uid. @throws SkerryError `already-exists`, `unavailable`, `resource-exhausted` */
  async createSecret(body: V1Secret): Promise<string> {
    const { namespace } = this.#options;
    const made = await asked(() => this.#core.createNamespacedSecret({ namespace, body }));
    return made.metadata?.uid ?? '';
  }

  /** Idempotent. */
  async removeSecret(name: string): Promise<void> {
    const { namespace } = this.#options;
    await unlessMissing(() => this.#core.deleteNamespacedSecret({ name, namespace }));
  }

  /** Makes it, or has the one of that name be it: there is one all the time. @throws as `createSecret` */
  async putSecret(body: V1Secret): Promise<void> {
    const { namespace } = this.#options;
    const name = body.metadata?.name ?? '';
    try {
      await this.createSecret(body);
    } catch (error) {
      if (!(error instanceof SkerryError && error.code === 'already-exists')) throw error;
      await asked(() => this.#core.replaceNamespacedSecret({ name, namespace, body }));
    }
  }

  /** @throws as `createSecret`; `invalid-argument` for what the cluster does not take */
  async createPod(body: V1Pod): Promise<void> {
    const { namespace } = this.#options;
    await asked(() => this.#core.createNamespacedPod({ namespace, body }));
  }

  /** What the cluster said last that is wrong with a Pod: of what keeps its node from making it, its status says nothing. Undefined where this server may not know. */
  async warningOf(name: string): Promise<string | undefined> {
    const fieldSelector = `involvedObject.kind=Pod,involvedObject.name=${name},type=Warning`;
    const query = { namespace: this.#options.namespace, fieldSelector, limit: PAGE };
    const { items } = await this.#core.listNamespacedEvent(query).catch(() => ({ items: [] }));
    const time = ({ lastTimestamp, eventTime }: CoreV1Event) => Number(lastTimestamp ?? eventTime ?? 0);
    const last = items.toSorted((a, b) => time(a) - time(b)).at(-1);
    return last && words(last.reason, last.message);
  }

  /** Adds these to what a Pod has of them. @returns its labels then */
  async markPod(name: string, metadata: Marked): Promise<Labels> {
    const pod = await asked(() => this.#patchPod(name, metadata));
    return pod.metadata?.labels ?? {};
  }

  /**
   * Has this one of several servers be the one that a Pod is of, and that is told of it.
   * @param tries as long as the cluster does not answer
   * @returns it as it is then; undefined when there is none. @throws SkerryError `unavailable`
   */
  async claimPod(name: string, tries = 1): Promise<V1Pod | undefined> {
    try {
      return await unlessMissing(() => this.#patchPod(name, memberMark(this.#options.member)));
    } catch (error) {
      if (tries <= 1) throw error;
    }
    await delay(CLAIM_PAUSE_MS, this.#closing.signal);
    return this.claimPod(name, tries - 1);
  }

  #patchPod(name: string, metadata: Marked): Promise<V1Pod> {
    const { namespace } = this.#options;
    return this.#core.patchNamespacedPod(
      { name, namespace, body: { metadata } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
  }

  /** Makes it, or has the one of that name be it. @throws as `createPod` */
  async putPolicy(body: V1NetworkPolicy): Promise<void> {
    const { namespace } = this.#options;
    const name = body.metadata?.name ?? '';
    try {
      await asked(() => this.#networking.createNamespacedNetworkPolicy({ namespace, body }));
    } catch (error) {
      if (!(error instanceof SkerryError && error.code === 'already-exists')) throw error;
      await asked(() => this.#networking.replaceNamespacedNetworkPolicy({ name, namespace, body }));
    }
  }

  /** Idempotent. */
  async removePolicy(name: string): Promise<void> {
    const { namespace } = this.#options;
    await unlessMissing(() => this.#networking.deleteNamespacedNetworkPolicy({ name, namespace }));
  }

  /** Resolves when it is gone from its node, or that is lost. Idempotent. @throws SkerryError `unavailable` when it is not */
  async removePod(name: string): Promise<void> {
    const { namespace, member, removalTimeoutMs = REMOVAL_TIMEOUT_MS } = this.#options;
    // Else nobody would say here that it is gone.
    const isToldOf = member === undefined || this.known(name) !== undefined;
    if (!isToldOf && !(await this.claimPod(name))) return;
    const remove = (gracePeriodSeconds: number) =>
      unlessMissing(() =>
        this.#core.deleteNamespacedPod({
          ...{ name, namespace },
          body: { gracePeriodSeconds, propagationPolicy: 'Background' },
        }),
      );
    // A node that comes back ends what the cluster does not know any more.
    const isKnownLost = () => {
      const known = this.known(name);
      return known !== undefined && isLost(known);
    };
    const gone = Promise.withResolvers<true>();
    const over = this.#listen(name, (pod) => {
      if (!pod) gone.resolve(true);
      else if (isLost(pod)) remove(0).catch(() => {}); // who waits tries again
    });
    try {
      const found = await remove(isKnownLost() ? 0 : GRACE_SECONDS);
      if (!found || (await withDeadline(gone.promise, removalTimeoutMs))) return;
      // One that went while there was no watch was told to nobody.
      const left = await unlessMissing(() => this.#core.readNamespacedPod({ name, namespace }));
      if (!left) return;
      if (isGivenUp(left)) {
        await remove(0);
        return;
      }
    } finally {
      over();
    }
    const said = `The Pod ${name} is still there ${removalTimeoutMs / 1000} s after it was deleted: its node may not answer.`;
    throw new SkerryError('unavailable', said);
  }

  /** Calls `follower` with what is known of the Pod, if anything is, and with each change. @returns what ends that */
  follow(name: string, follower: Follower): () => void {
    const over = this.#listen(name, follower);
    const known = this.known(name);
    if (known) follower(known);
    return over;
  }

  /** As it was told of last; undefined for one that is not there, or not this one's. */
  known(name: string): V1Pod | undefined {
    return this.#pods.get(name, this.#options.namespace);
  }

  /** Those of this server. */
  async all(): Promise<{ readonly pods: readonly V1Pod[]; readonly secrets: readonly V1Secret[] }> {
    const { namespace } = this.#options;
    const query = { namespace, labelSelector: this.#selector, limit: PAGE };
    const [pods, secrets] = await Promise.all([
      pages((_continue) => this.#core.listNamespacedPod({ ...query, ...(_continue && { _continue }) })),
      pages((_continue) => this.#core.listNamespacedSecret({ ...query, ...(_continue && { _continue }) })),
    ]);
    return { pods, secrets };
  }

  #listen(name: string, follower: Follower): () => void {
    const followers = this.#followers.get(name) ?? new Set();
    this.#followers.set(name, followers.add(follower));
    return () => {
      followers.delete(follower);
      if (followers.size === 0 && this.#followers.get(name) === followers) this.#followers.delete(name);
    };
  }

  #tell({ metadata }: V1Pod, pod: V1Pod | undefined): void {
    for (const follower of [...(this.#followers.get(metadata?.name ?? '') ?? [])]) follower(pod);
  }

  /** A Pod is gone, or is not this one's any more: the watch says no more of either than that it is not among its own. */
  async #lose(pod: V1Pod): Promise<void> {
    const { namespace, member, onClaimed } = this.#options;
    const name = pod.metadata?.name ?? '';
    if (member === undefined || pod.metadata?.deletionTimestamp) return this.#tell(pod, undefined);
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const now = await unlessMissing(() => this.#core.readNamespacedPod({ name, namespace }));
        if (!now) this.#tell(pod, undefined);
        else if (memberOf(now) !== member) onClaimed?.(now);
        return;
      } catch {
        await delay(WATCH_PAUSE_MS, signal).catch(() => {}); // closed
      }
    }
  }

  async #watchAgain(err: unknown): Promise<void> {
    const { signal } = this.#closing;
    if (signal.aborted) return;
    this.#options.logger.warn({ err }, 'kubernetes.watch-broke');
    try {
      await delay(WATCH_PAUSE_MS, signal);
    } catch {
      return; // closed
    }
    await this.#pods.start();
  }
}

function loadConfig(file: string): KubeConfig {
  const config = new KubeConfig();
  try {
    if (file === '') config.loadFromCluster();
    else config.loadFromFile(file);
    if (!config.getCurrentCluster()) throw new Error('it names no cluster as the current one');
    return config;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SkerryError('invalid-argument', `Cannot use ${file || "the cluster's own access"}: ${why}`, {
      cause: error,
    });
  }
}

/** As `KubeConfig.makeApiClient`, but calls fail when there is no whole answer in time: so they are made again. */
function makeBoundedClient<Api>(
  config: KubeConfig,
  type: new (configuration: Configuration) => Api,
  timeoutMs: number,
): Api {
  return new type(
    createConfiguration({
      baseServer: new ServerConfiguration(config.getCurrentCluster()?.server ?? '', {}),
      authMethods: { default: config },
      promiseMiddleware: [
        {
          pre: async (request) => {
            request.setSignal(AbortSignal.timeout(timeoutMs));
            return request;
          },
          post: async (response) => response,
        },
      ],
    }),
  );
}

async function pages<T>(
  list: (
    next: string | undefined,
  ) => Promise<{ readonly items: readonly T[]; readonly metadata?: { readonly _continue?: string } }>,
): Promise<T[]> {
  const all: T[] = [];
  let next: string | undefined;
  do {
    const page = await asked(() => list(next));
    all.push(...page.items);
    next = page.metadata?._continue || undefined;
  } while (next !== undefined);
  return all;
}

/** @returns undefined when there is no such object */
async function unlessMissing<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof ApiException && error.code === 404) return undefined;
    throw clusterError(error);
  }
}

async function asked<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw clusterError(error);
  }
}

/** What an answer of the API server means to who asked for a sandbox. */
export function clusterError(error: unknown): SkerryError {
  if (error instanceof SkerryError) return error;
  if (!(error instanceof ApiException)) {
    const why = error instanceof Error ? causeOf(error) : String(error);
    return new SkerryError('unavailable', `The Kubernetes cluster does not answer: ${why}`, { cause: error });
  }
  const said = `Kubernetes says: ${messageOf(error.body) ?? `status ${error.code}`}`.slice(0, 1000);
  const options = { cause: error };
  if (error.code === 409) return new SkerryError('already-exists', said, options);
  if (error.code === 422 || error.code === 400) return new SkerryError('invalid-argument', said, options);
  if (error.code === 429 || /exceeded quota/.test(said))
    return new SkerryError('resource-exhausted', said, options);
  return new SkerryError('unavailable', said, options);
}

const causeOf = (error: Error): string =>
  error.cause instanceof Error ? error.cause.message || error.message : error.message;

/** Of a Status object, which comes parsed or as text. */
function messageOf(body: unknown): string | undefined {
  if (typeof body === 'string') {
    try {
      return messageOf(JSON.parse(body));
    } catch {
      return body;
    }
  }
  if (typeof body !== 'object' || body === null || !('message' in body)) return undefined;
  return typeof body.message === 'string' ? body.message : undefined;
}
