/** An instance of the fake engine on its way to somebody: the steps of a real one, with less in each. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import { Limiter } from '../../platform/limiter.ts';
import { withDeadline } from '../../platform/wait.ts';
import type { Capabilities, Instance, Prepared, RuntimeName, Shape, Tenure } from '../engine.ts';
import { lateParts } from '../late-binding.ts';
import { AgentListener } from '../oci/agent-listener.ts';
import { type PlacedMount, placeMounts } from '../oci/mounts.ts';
import type { ContentPlaces } from '../references.ts';
import { checkPolicy, type FakePlaces } from './fake-engine.ts';
import { type FakeInstance, type FakeRecord, goneError } from './fake-instance.ts';
import { FakeProcess } from './fake-process.ts';
import { copyLayers, mountTable } from './fake-root.ts';
import type { Faults } from './faults.ts';

const START_TIMEOUT_MS = 60_000;

interface Parts {
  readonly shape: Shape;
  readonly runtime: RuntimeName;
  readonly owner: FakeInstance | undefined;
  readonly places: FakePlaces;
  readonly binDir: string;
  readonly content: ContentPlaces;
  readonly capabilities: Capabilities;
  readonly faults: Faults;
  readonly faultPoint: FaultPoint;
  readonly register: (record: FakeRecord, listener: AgentListener, process: FakeProcess) => Instance;
  /** Called when it was bound, and when nothing of it is left. */
  readonly onOver: () => void;
}

export class FakePrepared implements Prepared {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly #parts: Parts;
  readonly #listener: AgentListener;
  readonly #undo = new Cleanup();
  readonly #exclusive = new Limiter(1);
  readonly #leaving = new AbortController();
  /** While it waits. */
  #process: FakeProcess | undefined;
  #bound = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.id = parts.shape.id;
    this.runtime = parts.runtime;
    this.#listener = new AgentListener(parts.places.socket);
  }

  get joins(): InstanceId | undefined {
    return this.#parts.owner?.id;
  }

  prepare(signal: AbortSignal): Promise<void> {
    return this.#attempt(signal, async (either) => {
      const { shape, places, content, faults, faultPoint } = this.#parts;
      await faults.pass('prepare', this.id, either);
      this.#undo.add('files', async () => {
        await faults.pass('undo', this.id);
        await rm(places.dir, { recursive: true, force: true });
      });
      await mkdir(places.socketDir, { recursive: true, mode: 0o700 });
      faultPoint('instance.prepare.after-files');
      await copyLayers(
        places.root,
        shape.layers.map((layer) => content.layer(layer)),
      );
      this.#undo.add('listener', () => this.#listener.close());
      await this.#listener.listen();
      faultPoint('instance.prepare.after-resources');
      if (shape.expects) this.#process = await this.#start(shape.expects.hostname, [], either);
    });
  }

  async bind(tenure: Tenure, signal: AbortSignal): Promise<Instance> {
    if (this.#leaving.signal.aborted) throw goneError(this.id);
    if (this.#bound) throw new SkerryError('conflict', `The instance ${this.id} is somebody's already.`);
    this.#bound = true;
    return this.#attempt(signal, async (either) => {
      const { shape, owner, places, content, capabilities, faults, faultPoint } = this.#parts;
      await faults.pass('bind', this.id, either);
      const mounts = placeMounts(tenure.mounts, content);
      checkPolicy(tenure.network);
      if (shape.expects) lateParts(shape.expects, tenure, capabilities, this.runtime);
      const process = this.#process ?? (await this.#start(tenure.hostname, mounts, either));
      if (!(await process.alive())) throw goneError(this.id);
      const record = {
        runtime: this.runtime,
        ...(owner && { joins: owner.id }),
        ...(await process.identities()),
      };
      await writeFile(`${places.record}.new`, JSON.stringify(record));
      await rename(`${places.record}.new`, places.record);
      faultPoint('instance.bind.after-record');
      await faults.pass('bound', this.id, either);
      either.throwIfAborted();
      if (owner && !owner.running) throw goneError(owner.id);
      const instance = this.#parts.register(record, this.#listener, process);
      this.#undo.release();
      this.#parts.onOver();
      return instance;
    });
  }

  destroy(): Promise<void> {
    this.#leaving.abort(goneError(this.id));
    return this.#exclusive.run(async () => {
      await this.#parts.faults.pass('destroy', this.id);
      await this.#undo.run();
      this.#parts.onOver();
    });
  }

  async crash(): Promise<void> {
    await this.#process?.crash();
  }

  detach(): Promise<void> {
    return this.#listener.close();
  }

  #attempt<T>(signal: AbortSignal, work: (either: AbortSignal) => Promise<T>): Promise<T> {
    const either = AbortSignal.any([signal, this.#leaving.signal]);
    return this.#exclusive.run(async () => {
      try {
        either.throwIfAborted();
        return await work(either);
      } catch (error) {
        this.#leaving.abort(goneError(this.id));
        await this.#undo.run().then(this.#parts.onOver, () => {}); // `destroy` is told of what is left
        throw error;
      }
    });
  }

  async #start(hostname: string, mounts: readonly PlacedMount[], signal: AbortSignal): Promise<FakeProcess> {
    const { places, binDir, owner, faultPoint } = this.#parts;
    if (!/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(hostname)) {
      throw new SkerryError('invalid-argument', `"${hostname}" is not a hostname.`);
    }
    await writeFile(places.mountTable, await mountTable({ ...places, binDir }, hostname, mounts));
    signal.throwIfAborted();
    faultPoint('instance.start.after-bundle');
    const process = await FakeProcess.start(places, hostname, owner?.process);
    this.#undo.add('process', () => process.kill());
    faultPoint('instance.start.after-runtime');
    const called = Promise.race([
      this.#listener.connection.then(() => 'up'),
      process.exited.then(() => 'died'),
    ]);
    const outcome = await withDeadline(called, START_TIMEOUT_MS, signal);
    if (outcome !== 'up') {
      const errors = await readFile(places.errors, 'utf8').catch(() => '');
      const what = outcome ?? 'did not connect';
      throw new SkerryError('internal', `The sandbox ${what} while it started: ${errors}`);
    }
    faultPoint('instance.start.after-agent');
    return process;
  }
}
