/**
 * An instance of the OCI engine on its way to somebody. Everything acquired goes on a cleanup stack at once, so that a failure, an abort or a destroy at any
 * moment leaves nothing; once it is bound, `instance.ts` has it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import type { Lease, Network } from '../../network/network.ts';
import { type NetworkPolicy, parseAllowlist } from '../../network/policy.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import { Limiter } from '../../platform/limiter.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Capabilities, Instance, Prepared, RuntimeName, Shape, Tenure } from '../engine.ts';
import { lateParts } from '../late-binding.ts';
import type { ContentPlaces } from '../references.ts';
import { AgentListener } from './agent-listener.ts';
import { createBundle, limitsOf } from './bundle.ts';
import type { Cgroups } from './cgroups.ts';
import { writeEtcFiles } from './etc-files.ts';
import { awaitAgent } from './first-contact.ts';
import { ended, type OciInstance } from './instance.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import { type PlacedMount, placeMounts } from './mounts.ts';
import { mountRootfs } from './overlay.ts';
import type { OwnLimits } from './own-limits.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';
import { type InstanceRecord, writeRecord } from './record.ts';
import { haltInstance, removeInstanceFiles } from './residue.ts';
import type { OciRuntime } from './runtime.ts';
import { settleAll } from './settle-all.ts';

export interface PreparedParts {
  readonly shape: Shape;
  readonly layout: Layout;
  readonly content: ContentPlaces;
  readonly cgroups: Cgroups;
  readonly network: Network;
  readonly runtime: OciRuntime;
  readonly capabilities: Capabilities;
  /** gVisor as it is on the machine, for what may be left. */
  readonly gvisor: OciRuntime | undefined;
  /** The one it joins. */
  readonly owner: OciInstance | undefined;
  readonly caBundle: string | undefined;
  readonly ownLimits: OwnLimits;
  readonly logger: Logger;
  readonly faultPoint: FaultPoint;
  /** Makes it an instance. */
  readonly register: (listener: AgentListener, record: InstanceRecord, layers: readonly string[]) => Instance;
  /** Called when it was bound, and when nothing of it is left. */
  readonly onOver: () => void;
}

export class OciPrepared implements Prepared {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly #parts: PreparedParts;
  readonly #places: InstanceLayout;
  readonly #layers: readonly string[];
  readonly #listener: AgentListener;
  readonly #undo = new Cleanup();
  /** Preparing, binding, destroying: one after the other. */
  readonly #exclusive = new Limiter(1);
  /** Aborted once nothing can come of it any more. */
  readonly #leaving = new AbortController();
  #lease: Lease | undefined;
  #policy: NetworkPolicy;
  /** Its first process, while it waits. */
  #init: ProcessIdentity | undefined;
  #bound = false;

  constructor(parts: PreparedParts) {
    const { shape, layout, content, runtime } = parts;
    this.#parts = parts;
    this.id = shape.id;
    this.runtime = runtime.name;
    this.#places = layout.of(shape.id);
    this.#layers = shape.layers.map((layer) => content.layer(layer));
    this.#listener = new AgentListener(this.#places.socket);
    this.#policy = shape.expects?.network ?? { kind: 'open' };
  }

  /** The instance whose network it shares. */
  get joins(): InstanceId | undefined {
    return this.#parts.owner?.id;
  }

  /** Makes everything of it that does not depend on whom it is for. Called once, first. */
  prepare(signal: AbortSignal): Promise<void> {
    return this.#attempt('prepared', signal, async (either) => {
      const { layout, cgroups, gvisor, shape, faultPoint } = this.#parts;
      const places = this.#places;
      this.#undo.add('files', () => removeInstanceFiles(places));
      await Promise.all([
        mkdir(places.socketDir, { recursive: true, mode: 0o700 }),
        mkdir(places.rootfs, { recursive: true }),
        mkdir(places.upper, { recursive: true, mode: 0o755 }),
        mkdir(places.work, { recursive: true }),
        mkdir(places.etcDir, { recursive: true, mode: 0o755 }),
      ]);
      faultPoint('instance.prepare.after-files');
      this.#undo.add('processes and mounts', () => haltInstance(layout, cgroups, places, gvisor));
      this.#undo.add('listener', () => this.#listener.close());
      await settleAll([
        this.#takeNetwork(),
        mountRootfs(layout, places, this.#layers),
        this.#listener.listen(),
      ]);
      faultPoint('instance.prepare.after-resources');
      if (shape.expects) this.#init = await this.#start({ ...shape.expects, mounts: [] }, [], either);
    });
  }

  async bind(tenure: Tenure, signal: AbortSignal): Promise<Instance> {
    if (this.#leaving.signal.aborted) throw ended(this.id);
    if (this.#bound) throw new SkerryError('conflict', `The instance ${this.id} is somebody's already.`);
    this.#bound = true;
    return this.#attempt('bound', signal, async (either) => {
      const { owner, content, register, faultPoint } = this.#parts;
      const mounts = placeMounts(tenure.mounts, content);
      if (tenure.network.kind === 'allowlist') parseAllowlist(tenure.network.cidrs);
      // Nothing of its user's runs before both are done.
      const [init] = await settleAll([
        this.#init ? this.#adjust(this.#init, tenure) : this.#start(tenure, mounts, either),
        this.#setPolicy(tenure.network),
      ]);
      const record: InstanceRecord = {
        version: 1,
        runtime: this.runtime,
        init,
        ...(owner ? { joins: owner.id } : { slot: this.#network.slot }),
        policy: tenure.network,
      };
      await writeRecord(this.#places, record);
      faultPoint('instance.bind.after-record');
      either.throwIfAborted();
      owner?.shareNetwork(); // throws when it ended meanwhile; from the registration on, its destroy takes this one along
      const instance = register(this.#listener, record, this.#layers);
      this.#undo.release();
      this.#parts.onOver();
      return instance;
    });
  }

  /** @throws what keeps something of it on the machine: it is to be called again */
  destroy(): Promise<void> {
    this.#leaving.abort(ended(this.id));
    return this.#exclusive.run(async () => {
      await this.#undo.run();
      this.#parts.onOver();
    });
  }

  /** Lets go of what lives in this process. */
  detach(): Promise<void> {
    return this.#listener.close();
  }

  async #attempt<T>(
    what: string,
    signal: AbortSignal,
    work: (either: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const started = performance.now();
    const either = AbortSignal.any([signal, this.#leaving.signal]);
    const result = await this.#exclusive.run(async () => {
      try {
        either.throwIfAborted();
        return await work(either);
      } catch (error) {
        this.#leaving.abort(ended(this.id));
        await this.#undo.run().then(this.#parts.onOver, (left: unknown) => {
          this.#parts.logger.error({ instance: this.id, err: left }, 'instance.cleanup-failed');
        });
        throw error;
      }
    });
    const ms = performance.now() - started;
    this.#parts.logger.debug({ instance: this.id, runtime: this.runtime, ms }, `instance.${what}`);
    return result;
  }

  get #network(): Lease {
    if (!this.#lease) throw new Error(`${this.id} has no network yet`);
    return this.#lease;
  }

  async #takeNetwork(): Promise<void> {
    const { owner, network } = this.#parts;
    if (owner) {
      this.#lease = network.lease(owner.shareNetwork());
      return;
    }
    const lease = await network.acquire(this.#policy);
    this.#undo.add('network', () => network.release(lease.slot));
    this.#lease = lease;
  }

  async #setPolicy(policy: NetworkPolicy): Promise<void> {
    const { owner, network } = this.#parts;
    if (owner || (policy.kind === 'open' && this.#policy.kind === 'open')) return;
    await network.setPolicy(this.#network.slot, policy);
  }

  /** Starts the first process; resolves once its agent has called. */
  async #start(
    tenure: Tenure,
    mounts: readonly PlacedMount[],
    signal: AbortSignal,
  ): Promise<ProcessIdentity> {
    const { runtime, cgroups, faultPoint } = this.#parts;
    const places = this.#places;
    const { guestAddress: address, resolver } = this.#network;
    await Promise.all([
      writeFile(join(places.dir, 'config.json'), JSON.stringify(this.#bundle(tenure, mounts))),
      writeEtcFiles(places, { hostname: tenure.hostname, address, resolver }),
    ]);
    faultPoint('instance.start.after-bundle');
    await runtime.start(places, signal);
    faultPoint('instance.start.after-runtime');
    const listener = this.#listener;
    const init = await awaitAgent({ places, runtime: runtime.name, listener, cgroups }, signal);
    faultPoint('instance.start.after-agent');
    return init;
  }

  /** Changes what was expected to be other than it is. */
  async #adjust(init: ProcessIdentity, tenure: Tenure): Promise<ProcessIdentity> {
    const { shape, runtime, capabilities, cgroups } = this.#parts;
    const late = lateParts(shape.expects ?? tenure, tenure, capabilities, runtime.name);
    if (!(await isAlive(init))) throw ended(this.id);
    if (late.has('limits')) await runtime.update(this.#places, limitsOf(tenure.limits, cgroups));
    return init;
  }

  #bundle(tenure: Tenure, mounts: readonly PlacedMount[]): object {
    const { runtime, owner, layout, caBundle, ownLimits, cgroups, shape, capabilities } = this.#parts;
    const places = this.#places;
    return createBundle({
      runtime: runtime.name,
      hostname: tenure.hostname,
      rootfs: places.rootfs,
      cgroup: places.cgroup,
      networkNamespace: this.#network.namespacePath,
      ...(owner && runtime.name === 'gvisor' ? { kernelOf: owner.id } : {}),
      limits: tenure.limits,
      limitsMayChange: shape.expects !== undefined && capabilities.bindsLate.has('limits'),
      binDir: layout.binDir,
      socketDir: places.socketDir,
      etcDir: places.etcDir,
      ...(caBundle === undefined ? {} : { caBundle }),
      mounts,
      ownLimits,
      cgroups,
    });
  }
}
