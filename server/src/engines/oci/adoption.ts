/** What an earlier server left on the machine: instances that are taken over, and residue that goes. */
import { chown } from 'node:fs/promises';
import type { InstanceId } from '../../ids.ts';
import type { Network } from '../../network/network.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Adopted, Instance, RuntimeName } from '../engine.ts';
import { AgentListener } from './agent-listener.ts';
import type { Cgroups } from './cgroups.ts';
import type { Disks } from './disks.ts';
import { isUp, type OciInstance } from './instance.ts';
import type { Layout } from './layout.ts';
import type { Leftovers } from './leftovers.ts';
import { type InstanceRecord, leasesOf, readRecord } from './record.ts';
import { haltInstance, killStarters, removeInstanceFiles, tracedInstances } from './residue.ts';
import type { OciRuntime } from './runtime.ts';

export interface AdoptionParts {
  readonly layout: Layout;
  readonly cgroups: Cgroups;
  readonly network: Network;
  readonly disks: Disks;
  readonly leftovers: Leftovers;
  readonly logger: Logger;
  /** As it is on the machine. */
  readonly runtime: (name: RuntimeName) => OciRuntime | undefined;
  /** Whether this server has or makes an instance of that id. */
  readonly isOwn: (id: InstanceId) => boolean;
  /** Makes an instance of this server's of one whose socket is bound anew. */
  readonly register: (
    id: InstanceId,
    runtime: OciRuntime,
    listener: AgentListener,
    record: InstanceRecord,
  ) => OciInstance;
}

export class Adoption {
  readonly #parts: AdoptionParts;
  /** What is still to be done for what could not be removed. */
  readonly #left = new Map<InstanceId, { readonly removal: Cleanup; readonly devices: readonly string[] }>();

  constructor(parts: AdoptionParts) {
    this.#parts = parts;
  }

  /** @see Engine.adopt */
  async adopt(ids: ReadonlySet<InstanceId>): Promise<Adopted> {
    const { layout, cgroups, isOwn, logger } = this.#parts;
    const records = await readRecords(layout, cgroups);
    const instances = new Map<InstanceId, Instance>();
    for (const [id, record] of records) {
      if (!ids.has(id) || isOwn(id)) continue;
      try {
        const instance = await this.#takeOver(id, record);
        if (instance) instances.set(id, instance);
      } catch (error) {
        // One sandbox that cannot be taken over ends; the others go on.
        logger.error({ instance: id, err: error }, 'instance.not-adopted');
      }
    }
    const residue = new Set([...(await tracedInstances(layout, cgroups))].filter((id) => !isOwn(id)));
    if (residue.size > 0) await killStarters(layout, residue);
    for (const id of residue) {
      const oomKilled = (await cgroups.oomKills(layout.of(id).cgroup)) > 0;
      logger.info({ instance: id, oomKilled, known: ids.has(id) }, 'instance.gone');
      await this.#remove(id, records.get(id));
    }
    const { disks, leftovers } = this.#parts;
    await disks.adopt(
      [...instances.keys()].map((id) => layout.of(id)),
      (what, error) => leftovers.note(what, error),
    );
    return { instances, left: new Map([...this.#left].map(([id, { devices }]) => [id, devices])) };
  }

  /** Tries again to remove what is left of an instance, if anything is. @throws what keeps it from that */
  async destroy(id: InstanceId): Promise<void> {
    await this.#left.get(id)?.removal.run();
    if (this.#left.delete(id)) this.#parts.leftovers.forget(noteOf(id));
  }

  /** The living instance of a record; undefined when it is dead or its runtime is gone from the machine. */
  async #takeOver(id: InstanceId, record: InstanceRecord): Promise<Instance | undefined> {
    const runtime = this.#parts.runtime(record.runtime);
    if (!runtime) return undefined;
    const places = this.#parts.layout.of(id);
    // One that cannot be looked at now is not for that reason dead: its watch looks again.
    if (!(await isUp(runtime, places, record).catch(() => true))) return undefined;
    const listener = new AgentListener(places.socket);
    await listener.listen();
    const { firstId } = record;
    if (firstId !== undefined) await chown(places.socket, firstId, firstId);
    const instance = this.#parts.register(id, runtime, listener, record);
    await instance.goOn();
    return instance;
  }

  /** Never rejects. */
  async #remove(id: InstanceId, record: InstanceRecord | undefined): Promise<void> {
    const leases = record ? leasesOf(record) : [];
    const { layout, cgroups, network, disks, leftovers, runtime } = this.#parts;
    const places = layout.of(id);
    const removal = new Cleanup(); // a step that succeeded is not taken again: another may have the slot by then
    for (const { slot } of leases) removal.add('network', () => network.release(slot));
    removal.add('files', () => removeInstanceFiles(places, disks));
    removal.add('processes and mounts', () => haltInstance(layout, cgroups, places, runtime('gvisor')));
    try {
      await removal.run();
    } catch (error) {
      this.#left.set(id, { removal, devices: record?.devices ?? [] });
      leftovers.note(noteOf(id), error);
    }
  }
}

/** The records of all instances of which anything exists. */
export async function readRecords(
  layout: Layout,
  cgroups: Cgroups,
): Promise<Map<InstanceId, InstanceRecord>> {
  const records = new Map<InstanceId, InstanceRecord>();
  for (const id of await tracedInstances(layout, cgroups)) {
    const record = await readRecord(layout.of(id));
    if (record) records.set(id, record);
  }
  return records;
}

/** How the notes call what is left of an instance. */
const noteOf = (id: InstanceId): string => `sandbox ${id}`;
