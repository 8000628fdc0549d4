/** Sandboxes under the caller's own task ids: made once, found again, and told apart when the definition is another. */
import { createHmac } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Apps } from '../apps/apps.ts';
import { isObjectName } from '../apps/names.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type ImageId, isSandboxId } from '../ids.ts';
import type { ImageResolver } from '../images/image-resolver.ts';
import { OnePerKey } from '../platform/one-per-key.ts';
import type { VolumeMountSpec } from '../volumes/volume-mount-specs.ts';
import type { Volumes } from '../volumes/volumes.ts';
import type { CreateOptions, ForkCopy, Sandbox, Sandboxes } from './sandboxes.ts';
import type { NetworkPolicy, OpenPort, SandboxSpec, SecretHeaderSpec } from './spec.ts';

/** Longest lifetime, 24 hours; also the absolute bound of a sandbox that ends by idling. */
export const MAX_TTL_MS = 86_400_000;
/** The app that provisioned sandboxes belong to, in the default environment: `modal.App.lookup("modbox")` lists them. */
export const PROVISIONED_APP = 'modbox';
/** Tags by which a sandbox is found again after it ended, and its environment compared without storing it in clear. */
const TASK_TAG = 'modbox-task-id';
const ENV_TAG = 'modbox-env';
const HEADERS_TAG = 'modbox-headers';

/** What a caller wants, validated. */
export interface Provision {
  /** The caller's own id, unique among running sandboxes. */
  readonly taskId: string;
  /** An id of ours or a registry's reference; undefined or '' is the default image. */
  readonly imageId: string | undefined;
  /** At most MAX_TTL_MS. */
  readonly ttlMs: number;
  /** What the time counts from: `absolute` its start, `idle` its last activity, and then MAX_TTL_MS is the bound. */
  readonly ttlMode: 'absolute' | 'idle';
  /** What becomes of one that idled for its time; absent: what the server's setting says. */
  readonly idleAction?: 'end' | 'suspend';
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string | undefined;
  /** Zero means the configured default. */
  readonly milliCpu: number;
  readonly memoryMiB: number;
  readonly network: NetworkPolicy;
  /** Absent = it can have none. */
  readonly secretHeaders?: readonly SecretHeaderSpec[];
  readonly volumes: readonly ProvisionVolume[];
  readonly openPorts: readonly OpenPort[];
  /** Checked ones; none = all. */
  readonly inboundCidrs: readonly string[];
}

/** A volume of the default environment, which is made when there is none of that name. */
export interface ProvisionVolume extends Omit<VolumeMountSpec, 'volumeId'> {
  readonly name: string;
}

/** The parts of a definition that are compared. */
export type ProvisionPart = Exclude<keyof Provision, 'taskId'>;

/** A running sandbox has the task id, and another definition. */
export class ProvisionConflict extends SkerryError {
  readonly taskId: string;
  readonly differs: readonly ProvisionPart[];

  constructor(taskId: string, differs: readonly ProvisionPart[]) {
    super(
      'conflict',
      `Task ${JSON.stringify(taskId)} has a running sandbox with another ${differs.join(', ')}.`,
    );
    this.taskId = taskId;
    this.differs = differs;
  }
}

export interface ProvisionerParts {
  readonly sandboxes: Sandboxes;
  readonly apps: Apps;
  readonly images: ImageResolver;
  readonly volumes: Pick<Volumes, 'create'>;
  /** Keys the digest of environments; a secret that stays the same over restarts. */
  readonly digestKey: () => string;
}

export class Provisioner {
  readonly #sandboxes: Sandboxes;
  readonly #apps: Apps;
  readonly #images: ImageResolver;
  readonly #volumes: Pick<Volumes, 'create'>;
  readonly #digestKey: () => string;
  /** By task id: two provisionings of one must not both find nothing and create. */
  readonly #turns = new OnePerKey<string>();

  constructor(parts: ProvisionerParts) {
    this.#sandboxes = parts.sandboxes;
    this.#apps = parts.apps;
    this.#images = parts.images;
    this.#volumes = parts.volumes;
    this.#digestKey = parts.digestKey;
  }

  /**
   * The running sandbox of that task id when its definition is the same, else a new one.
   * @throws ProvisionConflict; SkerryError `unavailable` while its image is being made; what `Sandboxes.create` throws
   */
  async provision(
    request: Provision,
    signal: AbortSignal,
    options: Pick<CreateOptions, 'tokenId'> = {},
  ): Promise<{ readonly sandbox: Sandbox; readonly created: boolean }> {
    const image = await this.#images.resolve(request.imageId, signal);
    return this.#turns.run(request.taskId, () => this.#findOrCreate(request, image.id, options));
  }

  /**
   * By task id, running or the newest that ended, or by sandbox id whoever made it.
   * @throws SkerryError `not-found`
   */
  find(taskId: string): Sandbox {
    if (isSandboxId(taskId)) return this.#sandboxes.get(taskId);
    const running = this.#sandboxes.findByExternalKey(taskId);
    if (running) return running;
    const app = this.#apps.find('', PROVISIONED_APP);
    const [ended] = app
      ? this.#sandboxes.list({ appId: app.id, tags: { [TASK_TAG]: taskId }, includeEnded: true, limit: 1 })
      : [];
    if (ended) return ended;
    throw new SkerryError('not-found', `There is no sandbox for task ${JSON.stringify(taskId)}.`, {
      details: { path: 'taskId' },
    });
  }

  /** Newest first, at most `limit`, created before `beforeMs`. */
  list(query: { includeEnded: boolean; limit: number; beforeMs: number | undefined }): readonly Sandbox[] {
    const app = this.#apps.find('', PROVISIONED_APP);
    if (!app) return [];
    const { includeEnded, limit, beforeMs } = query;
    return this.#sandboxes.list({
      appId: app.id,
      includeEnded,
      limit,
      ...(beforeMs === undefined ? {} : { beforeMs }),
    });
  }

  /**
   * Makes copies of a running sandbox, whoever made it.
   * @param copies of each its task id, or its name in the app of the original; neither of one that is found by its sandbox id alone
   * @throws what `Sandboxes.fork` throws
   */
  fork(
    sandbox: Sandbox,
    copies: readonly { readonly taskId?: string; readonly name?: string }[],
    signal: AbortSignal,
    { tokenId }: Pick<CreateOptions, 'tokenId'> = {},
  ): Promise<readonly Sandbox[]> {
    const { [TASK_TAG]: _, ...tags } = sandbox.tags;
    const each = copies.map(({ taskId, name }): ForkCopy => {
      if (taskId === undefined) return { tags, tokenId, ...(name !== undefined && { name }) };
      const own = { tokenId, externalKey: taskId, tags: { ...tags, [TASK_TAG]: taskId } };
      return isObjectName(taskId) ? { ...own, name: taskId } : own;
    });
    return this.#sandboxes.fork(sandbox.id, each, signal);
  }

  async #findOrCreate(request: Provision, imageId: ImageId, options: CreateOptions) {
    const app = this.#apps.lookup('', PROVISIONED_APP, true);
    const spec = this.#specOf(request, imageId, app);
    const existing = this.#sandboxes.findByExternalKey(request.taskId);
    // One that is on its way out still holds the id; its successor waits until it is gone.
    if (existing?.state === 'stopping') await existing.terminate();
    else if (existing) {
      const differs = differences(existing, spec);
      if (differs.length === 0) return { sandbox: existing, created: false };
      throw new ProvisionConflict(request.taskId, differs);
    }
    return { sandbox: await this.#sandboxes.create(spec, options), created: true };
  }

  #specOf(
    request: Provision,
    imageId: ImageId,
    app: Pick<SandboxSpec, 'environmentId'> & { readonly id: SandboxSpec['appId'] },
  ): SandboxSpec {
    const { taskId, env, secretHeaders, ttlMs, ttlMode, memoryMiB, milliCpu } = request;
    return {
      appId: app.id,
      environmentId: app.environmentId,
      imageId,
      // A task id that can be a name is the sandbox's too, so that `Sandbox.from_name` finds it.
      name: isObjectName(taskId) ? taskId : undefined,
      tags: {
        [TASK_TAG]: taskId,
        [ENV_TAG]: this.#digest(Object.entries(env).sort(byName)),
        ...(secretHeaders && { [HEADERS_TAG]: this.#digest(secretHeaders) }),
      },
      args: [],
      noEntrypoint: true,
      secretSources: [{ kind: 'inline', env }],
      workdir: request.workdir,
      timeoutMs: ttlMode === 'idle' ? MAX_TTL_MS : ttlMs,
      idleTimeoutMs: ttlMode === 'idle' ? ttlMs : undefined,
      ...(request.idleAction && { idleAction: request.idleAction }),
      resources: { memoryMiB, memoryLimitMiB: memoryMiB, milliCpu, milliCpuLimit: milliCpu },
      network: request.network,
      ...(secretHeaders && { secretHeaders }),
      runtime: undefined,
      pty: undefined,
      verbose: false,
      readinessProbe: undefined,
      mountIds: [],
      volumes: request.volumes.map(({ name, ...mount }) => ({
        volumeId: this.#volumes.create(app.environmentId, name, 2, 'keep').id,
        ...mount,
      })),
      ...(request.openPorts.length > 0 && { openPorts: request.openPorts }),
      ...(request.inboundCidrs.length > 0 && { inboundCidrs: request.inboundCidrs }),
      externalKey: taskId,
    };
  }

  /** Equal for what is equal; says nothing of values to whoever lacks the key. */
  #digest(content: unknown): string {
    return createHmac('sha256', this.#digestKey()).update(JSON.stringify(content)).digest('hex').slice(0, 32);
  }
}

/** What its caller said of it. */
const askedAction = ({ idleAction }: SandboxSpec) =>
  idleAction === 'suspend-or-end' ? undefined : idleAction;

/** In what the running sandbox is another. */
function differences(existing: Sandbox, wanted: SandboxSpec): ProvisionPart[] {
  const { spec } = existing;
  const sameMode = (spec.idleTimeoutMs === undefined) === (wanted.idleTimeoutMs === undefined);
  const ttl = (of: SandboxSpec) => of.idleTimeoutMs ?? of.timeoutMs;
  const checks: readonly (readonly [ProvisionPart, boolean])[] = [
    ['imageId', spec.imageId === wanted.imageId],
    ['ttlMs', ttl(spec) === ttl(wanted)],
    ['ttlMode', sameMode],
    ['idleAction', askedAction(spec) === wanted.idleAction],
    // Someone who replaced its tags through another API took the digest away: then the environment cannot be compared.
    ['env', (existing.tags[ENV_TAG] ?? wanted.tags[ENV_TAG]) === wanted.tags[ENV_TAG]],
    ['workdir', spec.workdir === wanted.workdir],
    ['milliCpu', spec.resources.milliCpuLimit === wanted.resources.milliCpuLimit],
    ['memoryMiB', spec.resources.memoryLimitMiB === wanted.resources.memoryLimitMiB],
    ['network', isDeepStrictEqual(withoutHeaders(spec.network), wanted.network)],
    [
      'secretHeaders',
      (spec.network.headers === undefined) === (wanted.secretHeaders === undefined) &&
        (existing.tags[HEADERS_TAG] ?? wanted.tags[HEADERS_TAG]) === wanted.tags[HEADERS_TAG],
    ],
    ['volumes', isDeepStrictEqual(byTarget(spec.volumes), byTarget(wanted.volumes))],
    ['openPorts', isDeepStrictEqual(byPort(spec.openPorts), byPort(wanted.openPorts))],
    ['inboundCidrs', isDeepStrictEqual(inOrder(spec.inboundCidrs), inOrder(wanted.inboundCidrs))],
  ];
  return checks.flatMap(([part, same]) => (same ? [] : [part]));
}

const byName = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : 1);
/** They are sealed, each time in another way. */
const withoutHeaders = ({ headers: _, ...policy }: NetworkPolicy): NetworkPolicy => policy;
const byTarget = (volumes: readonly VolumeMountSpec[]): readonly VolumeMountSpec[] =>
  volumes.toSorted((a, b) => (a.target < b.target ? -1 : 1));
const byPort = (ports: readonly OpenPort[] = []): readonly OpenPort[] =>
  ports.toSorted((a, b) => a.port - b.port);
const inOrder = (texts: readonly string[] = []): readonly string[] => texts.toSorted();
