/** Whatever goes wrong while a snapshot has an instance stand still, it goes on: under each runtime, for whole filesystems, for directories, and under gVisor for the memory. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentBinaryPath, enginePrograms } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { findProgram } from '../../platform/find-program.ts';
import '../../platform/testing/by-launcher.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Instance, RuntimeName } from '../engine.ts';
import type { CheckpointRef } from '../references.ts';
import { createBusyboxLayer } from '../testing/busybox-layer.ts';
import { TEST_ENGINE_CONFIG } from '../testing/engine-config.ts';
import { limits, signal } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import { hostTraces } from '../testing/host-traces.ts';
import { TestContent } from '../testing/test-content.ts';
import { createOciEngine } from './engine.ts';
import { instanceName } from './layout.ts';
import { findRuntimes } from './runtime-choice.ts';

const usable = process.getuid?.() === 0 && existsSync(agentBinaryPath()) && findProgram('busybox');
const probe = await mkdtemp(join(tmpdir(), 'skerry-paused-probe-'));
const findings = await findRuntimes(TEST_ENGINE_CONFIG.runscPath, probe);
await rm(probe, { recursive: true, force: true });

/** What can be broken, by the name of the file that breaks it while it is there. */
type Fault =
  | 'cannot-resume'
  | 'one-pause-in-vain'
  | 'pause-fails-half-way'
  | 'checkpoint-fails'
  | 'copy-dies';
const MEMORY = 'snapshot-of-memory' as CheckpointRef; // to this content any name is one
const snapshots = {
  filesystem: (instance: Instance) => instance.commit(TestContent.ref('snapshot'), { move: false }),
  directory: (instance: Instance) => instance.commitDirectory('/data', TestContent.ref('snapshot'), {}),
  memory: (instance: Instance) => instance.checkpoint(MEMORY, TestContent.ref('snapshot'), {}),
};
const faultsOf = (what: string) => [
  ...(['pause-fails-half-way', 'copy-dies'] as const),
  ...(what === 'memory' ? (['checkpoint-fails'] as const) : []),
];

for (const runtime of ['runc', 'gvisor'] as const) {
  const found = findings[runtime];
  const skip = !usable ? 'needs root, the agent and busybox' : found.ok ? false : found.reason;

  for (const [what, take] of Object.entries(snapshots)) {
    if (what === 'memory' && runtime !== 'gvisor') continue;
    const made = what === 'memory' ? ['snapshot', MEMORY] : ['snapshot'];
    test(`${runtime}: one that a snapshot of a ${what} paused and no server could resume runs on as soon as one can`, {
      skip,
    }, async () => {
      await using lab = await Laboratory.open(runtime);
      const instance = await lab.start();
      lab.break('cannot-resume');
      await take(instance);
      const adopted = await lab.restart();
      lab.mend('cannot-resume');
      assert.equal(await shell(adopted, 'echo on'), 'on');
    });

    for (const fault of faultsOf(what)) {
      test(`${runtime}: a snapshot of a ${what} that fails (${fault}) leaves nothing paused and nothing of it`, {
        skip,
      }, async () => {
        await using lab = await Laboratory.open(runtime);
        const instance = await lab.start();
        lab.break(fault);
        await assert.rejects(take(instance));
        assert.equal(await shell(instance, 'echo on'), 'on');
        assert.deepEqual(lab.snapshots, []);
        lab.mend(fault);
        await take(instance);
        assert.deepEqual(lab.snapshots, made);
        assert.equal(await shell(instance, 'echo on'), 'on');
      });
    }
  }
}

test('runc: one that could not be frozen at once, since its programs were too busy, is tried again', {
  skip: !usable ? 'needs root, the agent and busybox' : findings.runc.ok ? false : findings.runc.reason,
}, async () => {
  await using lab = await Laboratory.open('runc');
  const instance = await lab.start();
  lab.break('one-pause-in-vain');
  await snapshots.filesystem(instance);
  assert.equal(await shell(instance, 'echo on'), 'on');
  assert.deepEqual(lab.snapshots, ['snapshot']);
});

/** An engine whose programs fail while a file says so, and an instance in it. */
class Laboratory {
  readonly #runtime: RuntimeName;
  readonly #scratch: string;
  readonly #id = newInstanceId();
  readonly #path = process.env.PATH;
  #engine: ReturnType<typeof createOciEngine> | undefined;

  private constructor(runtime: RuntimeName, scratch: string) {
    this.#runtime = runtime;
    this.#scratch = scratch;
  }

  static async open(runtime: RuntimeName): Promise<Laboratory> {
    const lab = new Laboratory(runtime, await mkdtemp(join(tmpdir(), 'skerry-paused-')));
    const finding = findings[runtime];
    assert.ok(finding.ok);
    await createBusyboxLayer(join(lab.#scratch, 'layer'));
    mkdirSync(join(lab.#scratch, 'layer/data'), { recursive: true });
    mkdirSync(lab.#bin);
    lab.#program(
      runtime === 'gvisor' ? 'runsc' : 'runc',
      `case " $* " in
        *" resume "*) [ ! -e ${lab.#fault('cannot-resume')} ] || exit 1 ;;
        *" pause "*) if [ -e ${lab.#fault('one-pause-in-vain')} ]; then
            rm ${lab.#fault('one-pause-in-vain')}; echo 'level=error msg="unable to freeze"' >&2; exit 1; fi
          if [ -e ${lab.#fault('pause-fails-half-way')} ]; then ${finding.path} "$@"; exit 1; fi ;;
        *" checkpoint "*) if [ -e ${lab.#fault('checkpoint-fails')} ]; then ${finding.path} "$@"; exit 1; fi ;;
      esac
      exec ${finding.path} "$@"`,
    );
    lab.#program(
      'skerry-trees',
      `case "$1" in copy*) if [ -e ${lab.#fault('copy-dies')} ]; then echo ready; read line; exit 1; fi ;; esac
      exec ${enginePrograms().treesBinaryPath} "$@"`,
    );
    process.env.PATH = `${lab.#bin}:${lab.#path}`;
    lab.#engine = await lab.#open();
    return lab;
  }

  async start(): Promise<Instance> {
    assert.ok(this.#engine);
    const layers = [TestContent.ref('layer')];
    const prepared = await this.#engine.prepare({ id: this.#id, layers, runtime: this.#runtime }, signal());
    const tenure = { hostname: 'held', limits, network: { kind: 'blocked' }, mounts: [] } as const;
    const instance = await prepared.bind(tenure, signal());
    assert.equal(await shell(instance, 'echo file > /data/file; echo up'), 'up');
    return instance;
  }

  /** Another server takes over. */
  async restart(): Promise<Instance> {
    await this.#engine?.close();
    this.#engine = await this.#open();
    const adopted = (await this.#engine.adopt(new Set([this.#id]))).instances.get(this.#id);
    assert.ok(adopted);
    return adopted;
  }

  break(fault: Fault): void {
    writeFileSync(this.#fault(fault), '');
  }

  mend(fault: Fault): void {
    rmSync(this.#fault(fault));
  }

  /** Whole ones and parts of some. */
  get snapshots(): string[] {
    return readdirSync(this.#scratch)
      .filter((name) => name.includes('snapshot'))
      .sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.env.PATH = this.#path;
    await this.#engine?.destroy(this.#id);
    await this.#engine?.close();
    await this.#engine?.remove();
    assert.deepEqual(await hostTraces([instanceName(this.#dataDir)]), []);
    await rm(this.#scratch, { recursive: true, force: true });
  }

  get #bin(): string {
    return join(this.#scratch, 'bin');
  }

  get #dataDir(): string {
    return join(this.#scratch, 'data');
  }

  #fault(fault: Fault): string {
    return join(this.#scratch, fault);
  }

  #program(name: string, script: string): void {
    writeFileSync(join(this.#bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(this.#bin, name), 0o755);
  }

  async #open() {
    const runscPath = this.#runtime === 'gvisor' ? join(this.#bin, 'runsc') : '';
    const made = createOciEngine({
      config: { ...TEST_ENGINE_CONFIG, runtime: this.#runtime, runscPath },
      dataDir: this.#dataDir,
      content: new TestContent(this.#scratch),
      ...enginePrograms(),
      treesBinaryPath: join(this.#bin, 'skerry-trees'),
      logger: createLogger('silent'),
      networkPoolSize: 0,
      diskPoolSize: 0,
    });
    await made.open();
    return made;
  }
}
