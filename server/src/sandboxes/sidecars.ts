/**
 * Sidecars: further containers of a sandbox, of other images. Each is a sandbox of its own in the store and on the machine (so recovery, processes, output
 * and clean-up are the same), which joins the network of the one it belongs to, ends before it, and is found only through it.
 */
import { SkerryError } from '../errors/skerry-error.ts';
import { ENTRYPOINT_PROCESS_ID, type ProcessId, type TaskId } from '../ids.ts';
import type { SandboxRepository, SandboxRow } from './repositories.ts';
import { sandboxEnded } from './sandbox-errors.ts';
import type { Process, Sandbox, Sidecar, Sidecars } from './sandboxes.ts';
import type { SandboxSpec, SidecarSpec } from './spec.ts';

const MAX_PER_SANDBOX = 16;

/** What the service of all sandboxes does for sidecars. */
export interface SidecarParts {
  readonly repository: SandboxRepository;
  /** Writes the row and starts it in the background. @throws SkerryError as `Sandboxes.create` */
  readonly admit: (spec: SandboxSpec, requestKey: string | undefined) => Sandbox;
  readonly load: (row: SandboxRow | undefined) => Sandbox | undefined;
  /** All sandboxes that have not ended, sidecars included. */
  readonly live: () => Iterable<Sandbox>;
}

export class ManagedSidecars implements Sidecars {
  readonly #parts: SidecarParts;

  constructor(parts: SidecarParts) {
    this.#parts = parts;
  }

  async create(
    sandbox: Sandbox,
    spec: SidecarSpec,
    requestKey: string | undefined,
    signal: AbortSignal,
  ): Promise<Sidecar> {
    const { repository, load } = this.#parts;
    const made = requestKey === undefined ? undefined : repository.getByRequestKey(requestKey);
    const sidecar = load(made) ?? (await this.#admit(sandbox, spec, requestKey, signal));
    await sidecar.waitUntilRunning(signal).catch((error: unknown) => {
      if (!sidecar.result) throw error; // the caller left; one that has ended is the caller's to look at
    });
    if (sidecar.result?.kind === 'start-failed') {
      throw new SkerryError(
        'conflict',
        `The sidecar '${spec.name}' could not be started: ${sidecar.result.message}`,
      );
    }
    return sidecar;
  }

  find(sandbox: Sandbox, name: string, includeEnded: boolean): Sidecar | undefined {
    const live = this.#live(sandbox).find(({ spec }) => spec.sidecarOf?.name === name);
    if (live) return live;
    return includeEnded ? this.list(sandbox, true).find((sidecar) => sidecar.name === name) : undefined;
  }

  get(sandbox: Sandbox, id: TaskId): Sidecar {
    const { repository, load } = this.#parts;
    const live = this.#live(sandbox).find(({ taskId }) => taskId === id);
    const sidecar = live ?? load(repository.getByTask(id));
    if (sidecar?.spec.sidecarOf?.sandboxId !== sandbox.id) {
      throw new SkerryError('not-found', `Sandbox ${sandbox.id} has no container ${id}.`);
    }
    return sidecar;
  }

  list(sandbox: Sandbox, includeEnded: boolean): readonly Sidecar[] {
    const { repository, load } = this.#parts;
    const rows = repository.sidecars(sandbox.id).filter(({ state }) => includeEnded || state !== 'ended');
    return rows.flatMap((row) => load(row) ?? []);
  }

  process(sandbox: Sandbox, id: ProcessId): Process | undefined {
    if (id === ENTRYPOINT_PROCESS_ID) return undefined; // every sidecar has one of that name
    const { repository, load } = this.#parts;
    return load(repository.sidecarWithProcess(sandbox.id, id))?.process(id);
  }

  /** Ends all of a sandbox; resolves once nothing of them is left. */
  async endAll(sandbox: Pick<Sandbox, 'id'>): Promise<void> {
    await Promise.all(this.#live(sandbox).map((sidecar) => sidecar.terminate()));
  }

  async #admit(
    sandbox: Sandbox,
    { name, ...spec }: SidecarSpec,
    requestKey: string | undefined,
    signal: AbortSignal,
  ): Promise<Sandbox> {
    if (sandbox.spec.idleAction === 'suspend') {
      throw new SkerryError('conflict', 'A sandbox that is suspended when it is idle can have no sidecars.');
    }
    await sandbox.waitUntilAwake(signal);
    if (sandbox.state !== 'running') {
      throw sandboxEnded(sandbox);
    }
    if (this.#live(sandbox).length >= MAX_PER_SANDBOX) {
      throw new SkerryError(
        'resource-exhausted',
        `A sandbox can have at most ${MAX_PER_SANDBOX} running sidecars.`,
      );
    }
    const { appId, environmentId, timeoutMs, network, verbose } = sandbox.spec;
    return this.#parts.admit(
      {
        ...spec,
        ...{ appId, environmentId, network, verbose },
        timeoutMs, // it starts later, so its sandbox's end always comes first
        sidecarOf: { sandboxId: sandbox.id, taskId: sandbox.taskId, name },
        name: undefined,
        tags: {},
        idleTimeoutMs: undefined,
        runtime: undefined,
        readinessProbe: undefined,
        mountIds: [],
        externalKey: undefined,
      },
      requestKey,
    );
  }

  #live(sandbox: Pick<Sandbox, 'id'>): Sandbox[] {
    return [...this.#parts.live()].filter(({ spec }) => spec.sidecarOf?.sandboxId === sandbox.id);
  }
}

/** The error of a name that another running sidecar of the sandbox has. */
export const sidecarNameTaken = (name: string): SkerryError =>
  new SkerryError('already-exists', `A running sidecar named '${name}' already exists in this sandbox.`);
