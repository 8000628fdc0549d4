/** Sandboxes without an engine, for tests of the API: what a program does is decided by the test. */

import type { NetworkPolicy } from '../../../engines/engine.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import {
  newSandboxId,
  newTaskId,
  type ProcessId,
  type SandboxId,
  type SandboxIdShape,
  type TaskId,
} from '../../../ids.ts';
import type { Image } from '../../../images/image.ts';
import type {
  CreateOptions,
  OutputReader,
  Process,
  Sandbox,
  Sandboxes,
  SandboxFilter,
  SandboxLogEntry,
} from '../../../sandboxes/sandboxes.ts';
import type { ExecSpec, SandboxSpec } from '../../../sandboxes/spec.ts';
import type { ProcessExit, SandboxResult, SandboxState } from '../../../sandboxes/state.ts';

/** A promise for what one waits for, again and again. */
class Changes {
  #waiting: (() => void)[] = [];

  notify(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  next(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      this.#waiting.push(resolve);
    });
  }
}

export class FakeOutput implements OutputReader {
  #bytes = Buffer.alloc(0);
  #ended = false;
  readonly #changes = new Changes();

  get length(): number {
    return this.#bytes.length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  write(data: string | Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, Buffer.from(data)]);
    this.#changes.notify();
  }

  end(): void {
    this.#ended = true;
    this.#changes.notify();
  }

  async *read(offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let at = offset; ; ) {
      if (at < this.#bytes.length) {
        const chunk = this.#bytes.subarray(at, at + (256 << 10));
        at += chunk.length;
        yield chunk;
      } else if (this.#ended) return;
      else await this.#changes.next(signal);
    }
  }
}

export class FakeProcess implements Process {
  readonly id: ProcessId;
  readonly taskId: TaskId;
  readonly argv: readonly string[];
  readonly spec: ExecSpec | undefined;
  readonly createdAtMs = 0;
  readonly stdout = new FakeOutput();
  readonly stderr = new FakeOutput();
  readonly input: Uint8Array[] = [];
  /** Set to make every write wait until it is cleared with `readInput`. */
  #blocked: Promise<void> | undefined;
  #unblock = () => {};
  #accepted = 0;
  #closed = false;
  exit: ProcessExit | undefined;
  readonly #changes = new Changes();

  constructor(id: ProcessId, taskId: TaskId, argv: readonly string[], spec?: ExecSpec) {
    this.id = id;
    this.taskId = taskId;
    this.argv = argv;
    this.spec = spec;
  }

  finish(exit: ProcessExit): void {
    this.exit = exit;
    this.stdout.end();
    this.stderr.end();
    this.#changes.notify();
  }

  /** From now on the program does not read its input. */
  stopReading(): void {
    this.#blocked = new Promise((resolve) => {
      this.#unblock = resolve;
    });
  }

  readInput(): void {
    this.#blocked = undefined;
    this.#unblock();
  }

  get inputText(): string {
    return Buffer.concat(this.input).toString('utf8');
  }

  async wait(signal: AbortSignal): Promise<ProcessExit> {
    while (!this.exit) await this.#changes.next(signal);
    return this.exit;
  }

  async writeStdin(offset: number, data: Uint8Array, signal: AbortSignal): Promise<void> {
    if (this.#closed || this.exit) throw new SkerryError('stdin-closed', 'The input is closed.');
    if (offset > this.#accepted) throw new SkerryError('invalid-argument', 'There is a gap.');
    if (this.#blocked) {
      await Promise.race([
        this.#blocked,
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
        ),
      ]);
    }
    const fresh = data.subarray(this.#accepted - offset);
    this.input.push(fresh);
    this.#accepted += fresh.length;
    this.#changes.notify();
  }

  /** Waits until so many bytes of input were accepted. */
  async accepted(bytes: number, signal: AbortSignal): Promise<void> {
    while (this.#accepted < bytes) await this.#changes.next(signal);
  }

  async closeStdin(): Promise<void> {
    this.#closed = true;
  }

  async stdinStatus() {
    return { accepted: this.#accepted, closed: this.#closed };
  }

  async kill(): Promise<void> {}

  async resize(): Promise<void> {}
}

export class FakeSandbox implements Sandbox {
  readonly id: SandboxId;
  readonly taskId = newTaskId();
  readonly spec: SandboxSpec;
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  endedAtMs: number | undefined;
  readyAtMs: number | undefined;
  readonly deadlineMs: number;
  state: SandboxState = 'running';
  result: SandboxResult | undefined;
  name: string | undefined;
  tags: Readonly<Record<string, string>>;
  readonly entrypoint: FakeProcess;
  networkPolicy: NetworkPolicy;
  touched = 0;
  readonly execs = new Map<ProcessId, FakeProcess>();
  readonly log: SandboxLogEntry[] = [];
  readonly #changes = new Changes();

  get isolation() {
    return this.state === 'ended' ? undefined : 'gvisor';
  }

  constructor(spec: SandboxSpec, createdAtMs: number, idShape: SandboxIdShape = 'v2') {
    this.id = newSandboxId(idShape);
    this.spec = spec;
    this.createdAtMs = createdAtMs;
    this.startedAtMs = createdAtMs;
    this.deadlineMs = createdAtMs + spec.timeoutMs;
    this.name = spec.name;
    this.tags = spec.tags;
    this.networkPolicy = spec.network;
    this.entrypoint = new FakeProcess('entrypoint' as ProcessId, this.taskId, spec.args);
  }

  get stdout(): FakeOutput {
    return this.entrypoint.stdout;
  }

  get stderr(): FakeOutput {
    return this.entrypoint.stderr;
  }

  end(result: SandboxResult): void {
    if (this.result) return;
    this.result = result;
    this.state = 'ended';
    this.endedAtMs = this.createdAtMs + 1;
    for (const process of [this.entrypoint, ...this.execs.values()]) {
      if (!process.exit) process.finish({ kind: 'signal', signal: 9, timedOut: false });
    }
    this.#changes.notify();
  }

  async waitUntilRunning(): Promise<void> {
    if (this.result) throw new SkerryError('sandbox-ended', 'It ended.');
  }

  async wait(timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined> {
    const deadline = AbortSignal.timeout(timeoutMs);
    while (!this.result) {
      try {
        await this.#changes.next(AbortSignal.any([signal, deadline]));
      } catch (error) {
        if (deadline.aborted) return undefined;
        throw error;
      }
    }
    return this.result;
  }

  async waitUntilReady(): Promise<number> {
    if (!this.spec.readinessProbe) throw new SkerryError('conflict', 'It has no readiness probe.');
    return this.createdAtMs;
  }

  async exec(id: ProcessId, spec: ExecSpec): Promise<FakeProcess> {
    const known = this.execs.get(id);
    if (known) return known;
    const process = new FakeProcess(id, this.taskId, spec.argv, spec);
    this.execs.set(id, process);
    return process;
  }

  process(id: ProcessId): FakeProcess {
    const process = this.execs.get(id);
    if (!process) throw new SkerryError('not-found', `No process ${id}.`);
    return process;
  }

  processes(): readonly FakeProcess[] {
    return [...this.execs.values()];
  }

  async terminate(): Promise<void> {
    this.end({ kind: 'terminated' });
  }

  setName(name: string): void {
    this.name = name;
  }

  setTags(tags: Readonly<Record<string, string>>): void {
    this.tags = tags;
  }

  async setNetworkPolicy(policy: NetworkPolicy): Promise<void> {
    this.networkPolicy = policy;
  }

  async snapshotFilesystem(): Promise<Image> {
    throw new SkerryError('unimplemented', 'The fake has no files.');
  }

  events(): readonly SandboxLogEntry[] {
    return this.log;
  }

  logVerbose(kind: SandboxLogEntry['kind'], text: string): void {
    if (this.spec.verbose) this.log.push({ timeMs: this.createdAtMs, kind, text });
  }

  touch(): void {
    this.touched++;
  }

  hold(): () => void {
    return () => {};
  }
}

export class FakeSandboxes implements Sandboxes {
  readonly all: FakeSandbox[] = [];
  #lastMs = 1_700_000_000_000;

  async create(spec: SandboxSpec, { idShape }: CreateOptions = {}): Promise<FakeSandbox> {
    if (spec.name && this.findByName(spec.appId, spec.name, false)) {
      throw new SkerryError('already-exists', `A running sandbox is named ${spec.name}.`);
    }
    this.#lastMs += 1;
    const sandbox = new FakeSandbox(spec, this.#lastMs, idShape);
    this.all.push(sandbox);
    return sandbox;
  }

  get(id: SandboxId): FakeSandbox {
    const sandbox = this.all.find((one) => one.id === id);
    if (!sandbox) throw new SkerryError('not-found', `No sandbox ${id}.`);
    return sandbox;
  }

  getByTask(id: TaskId): FakeSandbox {
    const sandbox = this.all.find((one) => one.taskId === id);
    if (!sandbox) throw new SkerryError('not-found', `No task ${id}.`);
    return sandbox;
  }

  findByName(appId: string, name: string, includeEnded: boolean): FakeSandbox | undefined {
    return this.all.findLast(
      (one) => one.spec.appId === appId && one.name === name && (includeEnded || !one.result),
    );
  }

  findByExternalKey(): undefined {
    return undefined;
  }

  list(filter: SandboxFilter): readonly FakeSandbox[] {
    return this.all
      .filter(
        (one) => (filter.includeEnded || !one.result) && (!filter.appId || one.spec.appId === filter.appId),
      )
      .filter((one) => filter.beforeMs === undefined || one.createdAtMs < filter.beforeMs)
      .filter((one) => Object.entries(filter.tags ?? {}).every(([key, value]) => one.tags[key] === value))
      .toReversed()
      .slice(0, filter.limit);
  }
}
