/** Sidecars without an engine: each is a fake sandbox. */
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { ProcessId, TaskId } from '../../../ids.ts';
import type { Process, Sandbox, Sidecars } from '../../../sandboxes/sandboxes.ts';
import type { SidecarSpec } from '../../../sandboxes/spec.ts';
import { FakeSandbox } from './fake-sandboxes.ts';

export class FakeSidecars implements Sidecars {
  readonly all: FakeSandbox[] = [];
  readonly #byKey = new Map<string, FakeSandbox>();

  async create(
    { id, taskId, spec: host }: Sandbox,
    { name, ...spec }: SidecarSpec,
    requestKey: string | undefined,
  ): Promise<FakeSandbox> {
    const made = requestKey === undefined ? undefined : this.#byKey.get(requestKey);
    if (made) return made;
    if (this.all.some((one) => one.name === name && !one.result)) {
      throw new SkerryError('already-exists', `A running sidecar is named ${name}.`);
    }
    const sidecar = new FakeSandbox(
      { ...host, ...spec, name, sidecarOf: { sandboxId: id, taskId, name } },
      1_700_000_000_000,
    );
    this.all.push(sidecar);
    if (requestKey !== undefined) this.#byKey.set(requestKey, sidecar);
    return sidecar;
  }

  find(sandbox: Sandbox, name: string, includeEnded: boolean): FakeSandbox | undefined {
    return this.list(sandbox, includeEnded).find((one) => one.name === name);
  }

  get(sandbox: Sandbox, id: TaskId): FakeSandbox {
    const sidecar = this.list(sandbox, true).find(({ taskId }) => taskId === id);
    if (!sidecar) throw new SkerryError('not-found', `No container ${id}.`);
    return sidecar;
  }

  list({ id }: Sandbox, includeEnded: boolean): readonly FakeSandbox[] {
    return this.all.filter(
      ({ spec, result }) => spec.sidecarOf?.sandboxId === id && (includeEnded || !result),
    );
  }

  process(sandbox: Sandbox, id: ProcessId): Process | undefined {
    return this.list(sandbox, true)
      .find(({ execs }) => execs.has(id))
      ?.execs.get(id);
  }
}
