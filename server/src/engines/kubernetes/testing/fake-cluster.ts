/**
 * A cluster for tests of the engine: the part of the Kubernetes API that it asks for, and one node. A Pod there is the real agent and the real link, with the
 * directories of its image copied for a root filesystem, and an address of the loopback. What it keeps from whom is nothing.
 *
 * The API: https://kubernetes.io/docs/reference/using-api/api-concepts/ (lists, watches, deletion with a grace period).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { json, text } from 'node:stream/consumers';
import type {
  CoreV1Event,
  KubernetesObject,
  V1ContainerState,
  V1DeleteOptions,
  V1NetworkPolicy,
  V1Pod,
  V1Secret,
  V1SelfSubjectAccessReview,
} from '@kubernetes/client-node';
import { egressBinaryPath, podLinkBinaryPath, treesBinaryPath } from '../../../agent/agent-binary.ts';
import { run } from '../../../platform/command.ts';
import { delay } from '../../../platform/wait.ts';
import type { PlacedMount } from '../../oci/mounts.ts';
import { GUEST_CA_BUNDLE } from '../../paths.ts';
import type { FakePlaces } from '../../testing/fake-engine.ts';
import { FakeProcess } from '../../testing/fake-process.ts';
import { mountTable } from '../../testing/fake-root.ts';
import { isGateway, PROXY_CONTAINER } from '../gateway-spec.ts';
import type { ImageSource } from '../image-source.ts';
import { LINK_CONTAINER, LINK_PORT, SANDBOX_CONTAINER } from '../pod-spec.ts';

type Kind = 'networkpolicies' | 'pods' | 'secrets';
type Stored = KubernetesObject & { status?: V1Pod['status'] };

interface Watcher {
  readonly kind: Kind;
  readonly selector: string;
  readonly response: ServerResponse;
}

/** What runs of one Pod, once it is wholly there. */
interface Running {
  /** The agent's, or the gateway's. */
  readonly process: { kill(): Promise<void> };
  readonly link: ChildProcess;
}

const PATH =
  /^\/apis?\/(?:networking\.k8s\.io\/)?v1\/namespaces\/[^/]+\/(networkpolicies|pods|secrets)(?:\/([^/]+))?$/;

const GPU = 'nvidia.com/gpu';
const POLL_MS = 5;

const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';

export class FakeCluster implements AsyncDisposable {
  readonly #directory: string;
  readonly #server: Server;
  readonly #objects: Readonly<Record<Kind, Map<string, Stored>>> = {
    networkpolicies: new Map(),
    pods: new Map(),
    secrets: new Map(),
  };
  readonly #watchers = new Set<Watcher>();
  readonly #running = new Map<string, Promise<Running | undefined>>();
  readonly #images = new Map<string, readonly string[]>();
  /** Of Pods that are on its node, which GPUs. */
  readonly #allocated = new Map<string, readonly string[]>();
  /** Pods that its node has no room for. */
  readonly #unplaced = new Set<string>();
  /** Pods whose node does not answer any more. */
  readonly #lost = new Set<string>();
  /** What the engine may not do, if it asks: `create pods`. */
  readonly refused = new Set<string>();
  /** What the next deletions are answered with, in order: a status of HTTP, the end of the connection, or nothing for as long as it stands. */
  readonly deletions: Readonly<Record<Kind, (number | 'end' | 'silence')[]>> = {
    networkpolicies: [],
    pods: [],
    secrets: [],
  };
  /** What is said of each Pod. */
  warnings: readonly Pick<CoreV1Event, 'reason' | 'message' | 'lastTimestamp'>[] = [];
  /** How many Pods its node takes. */
  room = Number.POSITIVE_INFINITY;
  /** How many of NVIDIA's its node has. */
  gpus = 4;
  /** Those of the next Pods; others have any. */
  readonly addresses: string[] = [];
  /** Whether its node starts what is placed on it. */
  starts = true;
  #version = 1;

  static async open(directory: string): Promise<FakeCluster> {
    const cluster = new FakeCluster(directory);
    cluster.#server.listen(0, '127.0.0.1');
    await once(cluster.#server, 'listening');
    const { port } = cluster.#server.address() as AddressInfo; // it listens on TCP
    const config = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'fake' },
      clusters: [
        { name: 'fake', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } },
      ],
      users: [{ name: 'fake', user: {} }],
      contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'fake' } }],
    };
    await writeFile(cluster.kubeconfig, JSON.stringify(config));
    return cluster;
  }

  private constructor(directory: string) {
    this.#directory = directory;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error) => fail(response, 500, String(error)));
    });
  }

  get kubeconfig(): string {
    return join(this.#directory, 'kubeconfig');
  }

  /** Stands in for a registry. */
  get images(): ImageSource {
    return {
      provide: async (tag, layers) => {
        this.#images.set(tag, layers);
        return tag;
      },
      credentials: async () => undefined,
      close: () => {},
    };
  }

  secrets(): readonly V1Secret[] {
    return [...this.#objects.secrets.values()];
  }

  pods(): readonly V1Pod[] {
    return [...this.#objects.pods.values()] as V1Pod[]; // nothing else is made there
  }

  policies(): readonly V1NetworkPolicy[] {
    return [...this.#objects.networkpolicies.values()] as V1NetworkPolicy[]; // likewise
  }

  /** Somebody else deletes a Pod. */
  delete(name: string): void {
    const found = this.#objects.pods.get(name);
    if (found) this.#delete('pods', name, found);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    for (const name of [...this.#objects.pods.keys()]) await this.#end(name);
  }

  /** Nobody reaches any more what its node has, of which the cluster says nothing yet. */
  async cutNode(): Promise<void> {
    for (const name of this.#objects.pods.keys()) {
      this.#lost.add(name);
      (await this.#running.get(name))?.link.kill('SIGSTOP');
    }
  }

  /** What the cluster says of the Pods of such a node: at first, or also once they were given up for it. */
  async loseNode(giveUp: boolean): Promise<void> {
    await this.cutNode();
    const unready = { type: 'Ready', status: 'False' };
    const why = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager' };
    for (const name of this.#lost) {
      const pod = this.#objects.pods.get(name);
      if (!pod) continue;
      const ready = pod.status?.phase === 'Running' ? [unready] : [];
      this.#put('pods', {
        ...pod,
        metadata: { ...pod.metadata, ...(giveUp && { deletionTimestamp: new Date() }) },
        status: { ...pod.status, conditions: giveUp ? [...ready, why] : ready },
      });
    }
  }

  /** Until a Pod waits for a node that has room. */
  async untilUnplaced(): Promise<void> {
    while (this.#unplaced.size === 0) await delay(POLL_MS);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://fake');
    if (url.pathname === '/version')
      return reply(response, { gitVersion: 'v0.0.0-fake', major: '0', minor: '0' });
    if (url.pathname === REVIEWS) {
      const { spec } = (await json(request)) as V1SelfSubjectAccessReview; // of the engine under test
      const { verb, resource } = spec.resourceAttributes ?? {};
      return reply(response, { spec, status: { allowed: !this.refused.has(`${verb} ${resource}`) } }, 201);
    }
    if (url.pathname.endsWith('/events')) return this.#listEvents(url.searchParams, response);
    const [, kind, name] = PATH.exec(url.pathname) ?? [];
    if (kind !== 'pods' && kind !== 'secrets' && kind !== 'networkpolicies')
      return fail(response, 404, 'no such path');
    const objects = this.#objects[kind];
    if (request.method === 'POST') {
      const body = (await json(request)) as Stored; // of the engine under test
      return this.#create(kind, body, response);
    }
    if (name === undefined) return this.#list(kind, url.searchParams, response);
    const found = objects.get(name);
    if (!found) return fail(response, 404, `${kind} "${name}" not found`);
    if (request.method === 'DELETE') {
      const refusal = this.deletions[kind].shift();
      if (refusal === 'end') request.socket.destroy();
      if (refusal === 'end' || refusal === 'silence') return;
      if (refusal !== undefined) return fail(response, refusal, 'not now');
      const options = JSON.parse((await text(request)) || '{}') as V1DeleteOptions; // likewise
      if (kind === 'pods' && this.#lost.has(name) && options.gracePeriodSeconds === 0)
        await this.#forget(name);
      else this.#delete(kind, name, found);
    }
    if (request.method === 'PATCH') {
      const { metadata } = (await json(request)) as Stored; // likewise
      const labels = merged(found.metadata?.labels, metadata?.labels);
      const annotations = merged(found.metadata?.annotations, metadata?.annotations);
      this.#put(kind, { ...found, metadata: { ...found.metadata, labels, annotations } });
    }
    if (request.method === 'PUT') this.#put(kind, (await json(request)) as Stored); // likewise
    reply(response, objects.get(name) ?? found);
  }

  #create(kind: Kind, body: Stored, response: ServerResponse): void {
    const name = body.metadata?.name ?? '';
    if (this.#objects[kind].has(name)) {
      fail(response, 409, `${kind} "${name}" already exists`);
      return;
    }
    const made = {
      ...body,
      metadata: { ...body.metadata, uid: randomUUID(), creationTimestamp: new Date() },
      ...(kind === 'pods' && { status: { phase: 'Pending' } }),
    };
    this.#put(kind, made);
    reply(response, this.#objects[kind].get(name), 201);
    if (kind === 'pods') this.#place(name);
  }

  /** What a scheduler does. */
  #place(name: string): void {
    const pod = this.#objects.pods.get(name);
    if (!pod) return;
    if (!this.starts) return;
    const gpus = this.#freeGpus();
    const wanted = wantedGpus(pod as V1Pod);
    const isCrowded = this.#running.size >= this.room;
    if (!isCrowded && wanted <= gpus.length) {
      this.#unplaced.delete(name);
      this.#allocated.set(name, gpus.slice(0, wanted));
      this.#running.set(
        name,
        this.#start(pod as V1Pod).catch(() => undefined),
      );
    } else if (!this.#unplaced.has(name)) {
      this.#unplaced.add(name);
      const lacks = isCrowded ? 'Too many pods' : `Insufficient ${GPU}`;
      const message = `0/1 nodes are available: 1 ${lacks}.`;
      const condition = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message };
      this.#put('pods', { ...pod, status: { phase: 'Pending', conditions: [condition] } });
    }
  }

  #freeGpus(): string[] {
    const taken = new Set([...this.#allocated.values()].flat());
    return Array.from({ length: this.gpus }, (_, n) => `GPU-${n}`).filter((id) => !taken.has(id));
  }

  #listEvents(query: URLSearchParams, response: ServerResponse): void {
    const name = /involvedObject\.name=([^,]+),type=Warning/.exec(query.get('fieldSelector') ?? '')?.[1];
    const items = name !== undefined && this.#objects.pods.has(name) ? this.warnings : [];
    if (this.refused.has('list events')) fail(response, 403, 'events is forbidden');
    else reply(response, { metadata: {}, items });
  }

  #list(kind: Kind, query: URLSearchParams, response: ServerResponse): void {
    const selector = query.get('labelSelector') ?? '';
    if (query.get('watch') !== 'true') {
      const items = [...this.#objects[kind].values()].filter((object) => matches(object, selector));
      reply(response, { metadata: { resourceVersion: String(this.#version) }, items });
      return;
    }
    const watcher = { kind, selector, response };
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    const from = Number(query.get('resourceVersion'));
    for (const object of this.#objects[kind].values()) {
      const isNew = Number(object.metadata?.resourceVersion) > from;
      if (isNew && matches(object, selector)) tell(response, 'ADDED', object);
    }
    this.#watchers.add(watcher);
    response.once('close', () => this.#watchers.delete(watcher));
  }

  #put(kind: Kind, object: Stored): void {
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    const stored = { ...object, metadata };
    const before = this.#objects[kind].get(metadata.name ?? '');
    this.#objects[kind].set(metadata.name ?? '', stored);
    this.#tellAll(kind, before, stored);
  }

  /** Whoever watches some objects is told when one becomes one of them, or none: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes */
  #tellAll(kind: Kind, before: Stored | undefined, now: Stored | undefined): void {
    for (const { kind: watched, selector, response } of this.#watchers) {
      if (watched !== kind) continue;
      const [was, is] = [before, now].map((object) => object !== undefined && matches(object, selector));
      if (is) tell(response, was ? 'MODIFIED' : 'ADDED', now ?? {});
      else if (was) {
        const resourceVersion = String(this.#version);
        tell(response, 'DELETED', { ...before, metadata: { ...before?.metadata, resourceVersion } });
      }
    }
  }

  #delete(kind: Kind, name: string, found: Stored): void {
    if (kind !== 'pods') this.#drop(kind, name);
    else if (!found.metadata?.deletionTimestamp) {
      this.#put(kind, { ...found, metadata: { ...found.metadata, deletionTimestamp: new Date() } });
      if (!this.#lost.has(name)) void this.#end(name).then(() => this.#drop(kind, name));
    }
  }

  async #forget(name: string): Promise<void> {
    this.#lost.delete(name);
    this.#drop('pods', name);
    await this.#end(name);
  }

  #drop(kind: Kind, name: string): void {
    const last = this.#objects[kind].get(name);
    this.#objects[kind].delete(name);
    this.#version++;
    this.#tellAll(kind, last, undefined);
  }

  /** What a node does. */
  async #start(pod: V1Pod): Promise<Running> {
    const name = pod.metadata?.name ?? '';
    const dir = join(this.#directory, name);
    const any = `127.${randomInt(2, 250)}.${randomInt(0, 250)}.${randomInt(2, 250)}`;
    const podIP = this.addresses.shift() ?? any;
    const [guest, shown] = [join(dir, 'm'), join(dir, 'c')];
    const places: FakePlaces = {
      ...{ dir, root: join(dir, 'root'), etcDir: join(dir, 'etc'), socketDir: join(guest, '.run') },
      ...{ socket: join(guest, '.run/agent.sock'), record: '', mountTable: join(dir, 'fstab') },
      ...{ stands: '', errors: join(dir, 'errors') },
    };
    for (const path of [guest, shown]) await mkdir(path, { recursive: true });
    this.#report(name, podIP, { waiting: { reason: 'ContainerCreating' } });
    const secret: V1Secret | undefined = this.#objects.secrets.get(name);
    for (const [file, data] of Object.entries(secret?.data ?? {}))
      await writeFile(join(shown, file), Buffer.from(data, 'base64'));
    if (isGateway(pod)) return this.#startGateway(pod, podIP, dir, shown);
    const containers = pod.spec?.containers ?? [];
    const image = containers.find((container) => container.name === SANDBOX_CONTAINER)?.image ?? '';
    await unpackLayers(places.root, this.#images.get(image) ?? []);
    const [install] = pod.spec?.initContainers ?? [];
    const [programs = ''] = this.#images.get(install?.image ?? '') ?? [];
    const [, , , , ...certificates] = install?.command ?? [];
    await run([join(programs, 'skerry-pod-link'), 'install', guest, '0', ...certificates]);
    const hostname = pod.spec?.hostname ?? '';
    const binDir = join(guest, '.bin');
    const trusted = {
      source: join(guest, '.ca'),
      target: dirname(GUEST_CA_BUNDLE),
      readOnly: true,
      scratch: false,
    };
    const mounts = [...(await emptyDirectories(pod, dir)), ...(certificates.length > 0 ? [trusted] : [])];
    await writeFile(places.mountTable, await mountTable({ ...places, binDir }, hostname, mounts));
    const link = spawn(podLinkBinaryPath(), ['serve', places.socket, `${podIP}:${LINK_PORT}`, shown], {
      stdio: 'ignore',
    });
    const process = await FakeProcess.start(places, hostname, {
      environment: environmentOf(pod, this.#allocated.get(name) ?? []),
    });
    void process.exited.then(() =>
      this.#report(name, podIP, { terminated: { exitCode: 137, reason: 'Error' } }),
    );
    this.#report(name, podIP, { running: { startedAt: new Date() } });
    return { process, link };
  }

  async #startGateway(pod: V1Pod, podIP: string, dir: string, shown: string): Promise<Running> {
    const name = pod.metadata?.name ?? '';
    const [resolver, socket] = [join(dir, 'resolv.conf'), join(dir, 'egress.sock')];
    const nameservers = pod.spec?.dnsConfig?.nameservers ?? [];
    await writeFile(resolver, nameservers.map((address) => `nameserver ${address}\n`).join(''));
    const { command = [] } =
      pod.spec?.containers.find((container) => container.name === PROXY_CONTAINER) ?? {};
    const own: Record<string, string> = { '--control': socket, '--listen': podIP, '--resolver': resolver };
    const words = command.slice(1).map((word, index) => own[command[index] ?? ''] ?? word);
    const proxy = spawn(egressBinaryPath(), words, { stdio: ['ignore', 'ignore', 'inherit'] });
    const link = spawn(podLinkBinaryPath(), ['lead', socket, `${podIP}:${LINK_PORT}`, shown], {
      stdio: 'ignore',
    });
    const ended = once(proxy, 'exit');
    this.#report(name, podIP, { running: { startedAt: new Date() } });
    const kill = async () => {
      proxy.kill('SIGKILL');
      await ended;
    };
    return { process: { kill }, link };
  }

  #report(name: string, podIP: string, sandbox: V1ContainerState): void {
    const pod = this.#objects.pods.get(name);
    if (!pod) return;
    const container = (called: string, state: V1ContainerState) => ({
      ...{ name: called, state, image: '', imageID: '', ready: !!state.running, restartCount: 0 },
    });
    const link = sandbox.waiting ? sandbox : { running: {} };
    const containerStatuses = [container(LINK_CONTAINER, link), container(SANDBOX_CONTAINER, sandbox)];
    const phase = sandbox.waiting ? 'Pending' : 'Running';
    this.#put('pods', { ...pod, status: { phase, podIP, containerStatuses } });
  }

  async #end(name: string): Promise<void> {
    this.#unplaced.delete(name);
    const running = await this.#running.get(name);
    this.#running.delete(name);
    running?.link.kill('SIGKILL');
    await running?.process.kill();
    await rm(join(this.#directory, name), { recursive: true, force: true });
    this.#allocated.delete(name);
    for (const each of this.#unplaced) this.#place(each);
  }
}

/** What the sandbox asks for. */
const wantedGpus = ({ spec }: V1Pod): number => Number(sandboxOf(spec)?.resources?.limits?.[GPU] ?? 0);

/** What a device plugin says, and over it what the Pod does, as the kubelet has it. */
const environmentOf = ({ spec }: V1Pod, gpus: readonly string[]): Record<string, string> => ({
  ...(gpus.length > 0 && { NVIDIA_VISIBLE_DEVICES: gpus.join(',') }),
  ...Object.fromEntries((sandboxOf(spec)?.env ?? []).map(({ name, value = '' }) => [name, value])),
});

const sandboxOf = (spec: V1Pod['spec']) => spec?.containers.find(({ name }) => name === SANDBOX_CONTAINER);

/** What a node makes for a sandbox that asks for empty directories: those of its volumes. */
async function emptyDirectories({ spec }: V1Pod, directory: string): Promise<readonly PlacedMount[]> {
  const sandbox = sandboxOf(spec);
  const mounts: PlacedMount[] = [];
  for (const { name, mountPath: target, subPath = '', readOnly = false } of sandbox?.volumeMounts ?? []) {
    if (!name.startsWith('volume-')) continue;
    const source = join(directory, name, subPath);
    await mkdir(source, { recursive: true, mode: 0o777 });
    mounts.push({ source, target, readOnly, scratch: false });
  }
  return mounts;
}

/** What a node does with an image. */
async function unpackLayers(root: string, layers: readonly string[]): Promise<void> {
  await mkdir(root, { recursive: true });
  await run([treesBinaryPath(), 'merge', root, ...layers]);
  await run(['find', root, '-type', 'c', '-delete']); // marks of what was removed
  await chmod(root, 0o755); // a layer may be a private directory of the server
}

const matches = ({ metadata }: KubernetesObject, selector: string): boolean =>
  selector === '' ||
  selector.split(',').every((each) => {
    const [key = '', value] = each.split('=');
    return metadata?.labels?.[key] === value;
  });

const tell = (response: ServerResponse, type: string, object: object): void => {
  response.write(`${JSON.stringify({ type, object })}\n`);
};

/** A merge patch takes away what it says is null: RFC 7396. */
const merged = (before: Record<string, string> = {}, patch: Record<string, string | null> = {}) =>
  Object.fromEntries(
    Object.entries({ ...before, ...patch }).filter((entry): entry is [string, string] => entry[1] !== null),
  );

function reply(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const fail = (response: ServerResponse, code: number, message: string): void =>
  reply(response, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, message }, code);
