/** What the parts of the conformance suite share: the engine under test, and instances that are gone after it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newInstanceId } from '../../ids.ts';
import type { Engine, Instance, InstanceSpec, RuntimeName } from '../engine.ts';
import type { ContentPlaces } from '../references.ts';
import { createBusyboxLayer } from './busybox-layer.ts';
import { TestContent } from './test-content.ts';

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
  readonly failingSpec: Partial<InstanceSpec>;
}

export const limits = { memoryMiB: 256, milliCpu: 1000, milliCpuRequest: 500, pids: 200 };
export const signal = () => AbortSignal.timeout(60_000);

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

  spec(more: Partial<InstanceSpec> = {}): InstanceSpec {
    return {
      id: newInstanceId(),
      layers: [this.layer],
      hostname: 'sandbox',
      runtime: this.runtime,
      limits,
      network: { kind: 'open' },
      mounts: [],
      ...more,
    };
  }

  async create(spec: Partial<InstanceSpec> = {}): Promise<Instance> {
    const instance = await this.harness.engine.create(this.spec(spec), signal());
    this.live.add(instance);
    return instance;
  }

  async destroy(instance: Instance): Promise<void> {
    await instance.destroy();
    this.live.delete(instance);
  }

  /** One test's instance. */
  async using<T>(spec: Partial<InstanceSpec>, use: (instance: Instance) => Promise<T>): Promise<T> {
    const instance = await this.create(spec);
    try {
      return await use(instance);
    } finally {
      await this.destroy(instance);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const instance of this.live) await instance.destroy();
    await this.harness[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}
