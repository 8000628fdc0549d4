/** An instance of the fake engine on its way to somebody: the steps of a real one, with less in each. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { checkPolicy } from '../../network/policy.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import { withDeadline } from '../../platform/wait.ts';
import type { Capabilities, Instance, Prepared, RuntimeName, Shape, Tenure } from '../engine.ts';
import { lateParts } from '../late-binding.ts';
import { AgentListener } from '../oci/agent-listener.ts';
import { type PlacedMount, placeMounts } from '../oci/mounts.ts';
import { ended, Preparation } from '../preparation.ts';
import { type FakeContent, keptPrograms, placeOf, startPrograms } from './fake-checkpoint.ts';
import type { FakePlaces } from './fake-engine.ts';
import type { FakeInstance, FakeRecord } from './fake-instance.ts';
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
  readonly content: FakeContent;
  readonly capabilities: Capabilities;
  readonly faults: Faults;
  readonly faultPoint: FaultPoint;
  readonly register: (record: FakeRecord, listener: AgentListener, process: FakeProcess) => FakeInstance;
  /** Called when it was bound, and when nothing of it is left. */
  readonly onOver: () => void;
}

export class FakePrepared implements Prepared {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly #parts: Parts;
  readonly #listener: AgentListener;
  readonly #preparation: Preparation;
  readonly #died = Promise.withResolvers<void>();
  #isWaiting = true;
  /** While it waits. */
  #process: FakeProcess | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#preparation = new Preparation(parts.shape.id, parts.onOver);
    this.id = parts.shape.id;
    this.runtime = parts.runtime;
    this.#listener = new AgentListener(parts.places.socket);
  }

  get joins(): InstanceId | undefined {
    return this.#parts.owner?.id;
  }

  get died(): Promise<void> {
    return this.#died.promise;
  }

  prepare(signal: AbortSignal): Promise<void> {
    return this.#attempt(signal, async (either) => {
      const { shape, places, content, faults, faultPoint } = this.#parts;
      await faults.pass('prepare', this.id, either);
      this.#preparation.undo.add('files', async () => {
        await faults.pass('undo', this.id);
        await rm(places.dir, { recursive: true, force: true });
      });
      await mkdir(places.socketDir, { recursive: true, mode: 0o700 });
      faultPoint('instance.prepare.after-files');
      await copyLayers(
        places.root,
        shape.layers.map((layer) => content.layer(layer)),
      );
      this.#preparation.undo.add('listener', () => this.#listener.close());
      await this.#listener.listen();
      faultPoint('instance.prepare.after-resources');
      if (!shape.expects) return;
      this.#process = await this.#start(shape.expects.hostname, [], either);
      void this.#process.exited.then(() => this.#isWaiting && this.#died.resolve());
    });
  }

  async bind(tenure: Tenure, signal: AbortSignal): Promise<Instance> {
    this.#preparation.claim();
    this.#isWaiting = false;
    return this.#attempt(signal, async (either) => {
      const { shape, owner, places, content, capabilities, faults, faultPoint } = this.#parts;
      if (faults.isCrowded) tenure.onWait?.();
      await faults.pass('bind', this.id, either);
      const mounts = placeMounts(tenure.mounts, content);
      checkPolicy(tenure.network);
      if (shape.expects) lateParts(shape.expects, tenure, capabilities, this.runtime);
      const process = this.#process ?? (await this.#start(tenure.hostname, mounts, either));
      if (!(await process.alive())) throw ended(this.id);
      const record = {
        runtime: this.runtime,
        ...(owner && { joins: owner.id }),
        devices: shape.devices ?? [],
        policy: tenure.network,
        ...(await process.identities()),
      };
      await writeFile(`${places.record}.new`, JSON.stringify(record));
      await rename(`${places.record}.new`, places.record);
      faultPoint('instance.bind.after-record');
      await faults.pass('bound', this.id, either);
      either.throwIfAborted();
      if (owner && !owner.running) throw ended(owner.id);
      const instance = this.#parts.register(record, this.#listener, process);
      instance.marks = tenure.marks;
      this.#preparation.handOver();
      return instance;
    });
  }

  destroy(): Promise<void> {
    this.#isWaiting = false;
    return this.#preparation.leave(async () => {
      await this.#parts.faults.pass('destroy', this.id);
      await this.#preparation.takeBack();
    });
  }

  async crash(): Promise<void> {
    await this.#process?.crash();
  }

  detach(): Promise<void> {
    return this.#listener.close();
  }

  #attempt<T>(signal: AbortSignal, work: (either: AbortSignal) => Promise<T>): Promise<T> {
    return this.#preparation.attempt(signal, work, () => {}); // `destroy` is told of what is left
  }

  async #start(hostname: string, mounts: readonly PlacedMount[], signal: AbortSignal): Promise<FakeProcess> {
    const { places, binDir, owner, faultPoint } = this.#parts;
    if (!/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(hostname)) {
      throw new SkerryError('invalid-argument', `"${hostname}" is not a hostname.`);
    }
    await writeFile(places.mountTable, await mountTable({ ...places, binDir }, hostname, mounts));
    signal.throwIfAborted();
    faultPoint('instance.start.after-bundle');
    const process = await FakeProcess.start(places, hostname, { network: owner?.process });
    this.#preparation.undo.add('process', () => process.kill());
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
    const { shape, content } = this.#parts;
    if (shape.from)
      await startPrograms(this.#listener, await keptPrograms(placeOf(content, shape.from)), signal);
    faultPoint('instance.start.after-agent');
    return process;
  }
}
