/** What the parts of the conformance suite share: the engine under test, and instances that are gone after it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newInstanceId } from '../../ids.ts';
import { run } from '../../platform/command.ts';
import type { Capabilities, Engine, Instance, RuntimeName, Shape, Tenure } from '../engine.ts';
import type { ContentPlaces } from '../references.ts';
import { createBusyboxLayer } from './busybox-layer.ts';
import { TestContent } from './test-content.ts';

/** An instance and what it is given. */
export type TestSpec = Shape & Tenure;

export interface EngineHarness extends AsyncDisposable {
  /** Opened; the harness closes and removes it. */
  readonly engine: Engine;
  /** Everything on the machine that belongs to this engine's instances (not to the engine itself), as lines to compare. */
  traces(): Promise<string[]>;
  /**
   * Leaves the engine as `kill -9` of its process would, and opens a new one over the same data. `engine` is the new one from then on.
   */
  restart(): Promise<void>;
  /** A start of an instance that fails late, after everything was made. */
  readonly failingSpec: Partial<TestSpec>;
}

export const limits = { memoryMiB: 256, milliCpu: 1000, milliCpuRequest: 100, pids: 200 };
/** Every instance of the suite is on one where the engine can make them. */
const disk = { sizeMiB: 64, files: 4096 };
/** Of several tests, each of which may wait for seconds where an instance is a Pod. */
export const GROUP_TIMEOUT_MS = 240_000;
/** Of one step: a node of a cluster that is busy takes a minute for an image of very many layers. */
export const signal = () => AbortSignal.timeout(120_000);

export class EngineSuite<Harness extends EngineHarness = EngineHarness> implements AsyncDisposable {
  readonly runtime: RuntimeName;
  /** For whatever a test writes. */
  readonly directory: string;
  /** Where layers and mounts are, under the names they are referred to by. */
  readonly content: ContentPlaces;
  /** A root filesystem with busybox and a few files. */
  readonly layer = TestContent.ref('layer');
  readonly harness: Harness;
  /** Destroyed after the last test, unless a test took them out. */
  readonly live = new Set<Instance>();

  static async open<Harness extends EngineHarness>(
    runtime: RuntimeName,
    open: (content: ContentPlaces) => Promise<Harness>,
  ): Promise<EngineSuite<Harness>> {
    const directory = await mkdtemp(join(tmpdir(), 'skerry-conformance-'));
    await createBusyboxLayer(join(directory, 'layer'));
    const content = new TestContent(directory);
    return new EngineSuite(runtime, directory, content, await open(content));
  }

  private constructor(runtime: RuntimeName, directory: string, content: ContentPlaces, harness: Harness) {
    this.runtime = runtime;
    this.directory = directory;
    this.content = content;
    this.harness = harness;
  }

  spec(more: Partial<TestSpec> = {}): TestSpec {
    return {
      id: newInstanceId(),
      layers: [this.layer],
      ...(this.capabilities.disk && { disk }),
      hostname: 'sandbox',
      runtime: this.runtime,
      limits,
      network: { kind: 'open' },
      mounts: [],
      ...more,
    };
  }

  async create(spec: Partial<TestSpec> = {}): Promise<Instance> {
    const instance = await this.start(this.spec(spec), signal());
    this.live.add(instance);
    return instance;
  }

  /** Prepares and binds in one go. */
  async start(spec: TestSpec, abort: AbortSignal): Promise<Instance> {
    const prepared = await this.harness.engine.prepare(spec, abort);
    await this.#showVolumes(spec, prepared.firstId);
    return prepared.bind(spec, abort);
  }

  /** As whoever makes working trees does. */
  async #showVolumes({ mounts }: TestSpec, firstId: number | undefined): Promise<void> {
    if (firstId === undefined) return;
    for (const { source } of mounts) {
      if (source.kind !== 'volume') continue;
      await run(['chown', '-R', `${firstId}:${firstId}`, this.content.mount({ ...source, path: '' })]);
    }
  }

  get capabilities(): Capabilities {
    return this.harness.engine.capabilities(this.runtime);
  }

  async destroy(instance: Pick<Instance, 'id'>): Promise<void> {
    await this.harness.engine.destroy(instance.id);
    for (const each of this.live) if (each.id === instance.id) this.live.delete(each);
  }

  /** One test's instance. */
  async using<T>(spec: Partial<TestSpec>, use: (instance: Instance) => Promise<T>): Promise<T> {
    const instance = await this.create(spec);
    try {
      return await use(instance);
    } finally {
      await this.destroy(instance);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const instance of this.live) await this.destroy(instance);
    await this.harness[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}
