/** Sandboxes under the caller's own task ids: made once, found again, and told apart when the definition is another. */
import { createHmac } from 'node:crypto';
import type { Apps } from '../../apps/apps.ts';
import { isObjectName } from '../../apps/names.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ImageId, SandboxId } from '../../ids.ts';
import type { Sandbox, Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { SandboxSpec } from '../../sandboxes/spec.ts';
import type { ImageResolver } from './image-resolver.ts';
import { MAX_TTL_SECONDS, type ProvisionRequest } from './schemas.ts';

/** The app that Modbox sandboxes belong to, in the default environment: `modal.App.lookup("modbox")` lists them. */
export const MODBOX_APP = 'modbox';
/** Tags by which a sandbox is found again after it ended, and its environment compared without storing it in clear. */
const TASK_TAG = 'modbox-task-id';
const ENV_TAG = 'modbox-env';

export interface ProvisionerParts {
  readonly sandboxes: Sandboxes;
  readonly apps: Apps;
  readonly images: ImageResolver;
  /** Keys the digest of environments ; a secret that stays the same over restarts. */
  readonly digestKey: () => string;
}

export class Provisioner {
  readonly #sandboxes: Sandboxes;
  readonly #apps: Apps;
  readonly #images: ImageResolver;
  readonly #digestKey: () => string;
  /** The last provisioning of each task id under way: two of one id must not both find nothing and create. */
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(parts: ProvisionerParts) {
    this.#sandboxes = parts.sandboxes;
    this.#apps = parts.apps;
    this.#images = parts.images;
    this.#digestKey = parts.digestKey;
  }

  /**
   * The running sandbox of that task id when its definition is the same, else a new one.
   * @throws SkerryError `conflict` naming what differs; `unavailable` while its image is being made; what `Sandboxes.create` throws
   */
  async provision(
    request: ProvisionRequest,
    signal: AbortSignal,
  ): Promise<{ readonly sandbox: Sandbox; readonly created: boolean }> {
    const image = await this.#images.resolve(request.imageId, signal);
    const before = this.#queues.get(request.taskId);
    const turn = (before ?? Promise.resolve())
      .catch(() => {})
      .then(() => this.#findOrCreate(request, image.id));
    this.#queues.set(request.taskId, turn);
    try {
      return await turn;
    } finally {
      if (this.#queues.get(request.taskId) === turn) this.#queues.delete(request.taskId);
    }
  }

  /**
   * By task id, running or the newest that ended, or by sandbox id whoever made it.
   * @throws SkerryError `not-found`
   */
  find(taskId: string): Sandbox {
    if (/^sb-[0-9A-Za-z]{26}$/.test(taskId)) return this.#sandboxes.get(taskId as SandboxId);
    const running = this.#sandboxes.findByExternalKey(taskId);
    if (running) return running;
    const app = this.#apps.find('', MODBOX_APP);
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
    const app = this.#apps.find('', MODBOX_APP);
    if (!app) return [];
    const { includeEnded, limit, beforeMs } = query;
    return this.#sandboxes.list({
      appId: app.id,
      includeEnded,
      limit,
      ...(beforeMs === undefined ? {} : { beforeMs }),
    });
  }

  async #findOrCreate(request: ProvisionRequest, imageId: ImageId) {
    const app = this.#apps.lookup('', MODBOX_APP, true);
    const spec = this.#specOf(request, imageId, app);
    const existing = this.#sandboxes.findByExternalKey(request.taskId);
    // One that is on its way out still holds the id; its successor waits until it is gone.
    if (existing?.state === 'stopping') await existing.terminate();
    else if (existing) {
      const differs = differences(existing, spec);
      if (differs.length === 0) return { sandbox: existing, created: false };
      throw new SkerryError(
        'conflict',
        `Task ${JSON.stringify(request.taskId)} has a running sandbox with another ${differs.join(', ')}. Destroy it first, or use another taskId.`,
        { details: { path: differs[0], differs } },
      );
    }
    return { sandbox: await this.#sandboxes.create(spec), created: true };
  }

  #specOf(
    request: ProvisionRequest,
    imageId: ImageId,
    app: Pick<SandboxSpec, 'environmentId'> & { readonly id: SandboxSpec['appId'] },
  ): SandboxSpec {
    const { taskId, envVars, ttlSeconds, ttlMode, memoryMiB = 0, cpu = 0 } = request;
    const ttlMs = ttlSeconds * 1000;
    const milliCpu = Math.round(cpu * 1000);
    return {
      appId: app.id,
      environmentId: app.environmentId,
      imageId,
      // A task id that can be a name is the sandbox's too, so that `Sandbox.from_name` finds it.
      name: isObjectName(taskId) ? taskId : undefined,
      tags: { [TASK_TAG]: taskId, [ENV_TAG]: this.#digest(envVars) },
      args: [],
      noEntrypoint: true,
      secretSources: [{ kind: 'inline', env: envVars }],
      workdir: request.workdir,
      timeoutMs: ttlMode === 'idle' ? MAX_TTL_SECONDS * 1000 : ttlMs,
      idleTimeoutMs: ttlMode === 'idle' ? ttlMs : undefined,
      resources: { memoryMiB, memoryLimitMiB: memoryMiB, milliCpu, milliCpuLimit: milliCpu },
      network: { kind: request.network },
      runtime: undefined,
      pty: undefined,
      verbose: false,
      readinessProbe: undefined,
      mountIds: [],
      externalKey: taskId,
    };
  }

  /** Equal for equal environments; says nothing of the values to whoever lacks the key. */
  #digest(env: Readonly<Record<string, string>>): string {
    const entries = Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
    return createHmac('sha256', this.#digestKey()).update(JSON.stringify(entries)).digest('hex').slice(0, 32);
  }
}

/** The request's field names in which the running sandbox is another. */
function differences(existing: Sandbox, wanted: SandboxSpec): string[] {
  const { spec } = existing;
  const sameMode = (spec.idleTimeoutMs === undefined) === (wanted.idleTimeoutMs === undefined);
  const ttl = (of: SandboxSpec) => of.idleTimeoutMs ?? of.timeoutMs;
  const checks: readonly (readonly [string, boolean])[] = [
    ['imageId', spec.imageId === wanted.imageId],
    ['ttlSeconds', ttl(spec) === ttl(wanted)],
    ['ttlMode', sameMode],
    // Someone who replaced its tags through the other API took the digest away: then the environment cannot be compared.
    ['envVars', (existing.tags[ENV_TAG] ?? wanted.tags[ENV_TAG]) === wanted.tags[ENV_TAG]],
    ['workdir', spec.workdir === wanted.workdir],
    ['cpu', spec.resources.milliCpuLimit === wanted.resources.milliCpuLimit],
    ['memoryMiB', spec.resources.memoryLimitMiB === wanted.resources.memoryLimitMiB],
    ['network', spec.network.kind === wanted.network.kind],
  ];
  return checks.flatMap(([field, same]) => (same ? [] : [field]));
}
