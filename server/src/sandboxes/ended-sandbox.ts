/**
 * A sandbox that ended, as the store knows it: its result, its log, and its output, which can be read for as long as it is kept. It holds nothing but its
 * row; processes are read when somebody asks for them.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { SkerryError } from '../errors/skerry-error.ts';
import type { ProcessId } from '../ids.ts';
import { type ExitSnapshot, lostExitSnapshot } from './exit-snapshot.ts';
import type { SandboxContext } from './live-sandbox.ts';
import { OutputBudget } from './output-budget.ts';
import type { SandboxRow } from './repositories.ts';
import { alreadyNamed, endedConflict, labelOf, noProbe, noProcess, sandboxEnded } from './sandbox-errors.ts';
import { SandboxProcesses } from './sandbox-processes.ts';
import type { OutputReader, Process, Sandbox, SandboxLogEntry } from './sandboxes.ts';
import type { SandboxResult } from './state.ts';

export class EndedSandbox implements Sandbox {
  readonly id;
  readonly taskId;
  readonly spec;
  readonly name;
  readonly createdAtMs;
  readonly startedAtMs;
  readonly endedAtMs;
  readonly readyAtMs;
  readonly deadlineMs;
  readonly result: SandboxResult;
  readonly exitSnapshot: ExitSnapshot | undefined;
  readonly state = 'ended';
  readonly isolation = undefined;
  readonly startup = undefined;
  readonly #context: SandboxContext;
  readonly #outputDir: string;
  #tags;
  #known: SandboxProcesses | undefined;

  constructor(context: SandboxContext, row: SandboxRow) {
    this.#context = context;
    this.id = row.id;
    this.taskId = row.taskId;
    this.spec = row.spec;
    this.name = row.name ?? row.spec.sidecarOf?.name;
    this.createdAtMs = row.createdAtMs;
    this.startedAtMs = row.startedAtMs;
    this.endedAtMs = row.endedAtMs;
    this.readyAtMs = row.readyAtMs;
    this.deadlineMs = row.deadlineMs ?? row.createdAtMs + row.spec.timeoutMs;
    this.result = row.result ?? { kind: 'terminated' };
    this.exitSnapshot = row.spec.exitSnapshot ? (row.exitSnapshot ?? lostExitSnapshot) : undefined;
    this.#tags = row.tags;
    this.#outputDir = join(context.outputRoot, row.taskId);
  }

  async usage(): Promise<undefined> {
    return undefined;
  }
  get tags() {
    return this.#tags;
  }
  get entrypoint(): Process | undefined {
    return this.#processes.entrypoint;
  }
  get stdout(): OutputReader {
    return this.#processes.entrypoint?.stdout ?? nothing;
  }
  get stderr(): OutputReader {
    return this.#processes.entrypoint?.stderr ?? nothing;
  }

  waitUntilRunning(): Promise<void> {
    return Promise.reject(this.#endedError());
  }

  waitUntilAwake(): Promise<void> {
    return Promise.reject(this.#endedError());
  }

  suspend(): Promise<void> {
    return Promise.reject(this.#endedError());
  }

  wait(): Promise<SandboxResult> {
    return Promise.resolve(this.result);
  }

  async waitUntilReady(): Promise<number> {
    if (!this.spec.readinessProbe) throw noProbe();
    if (this.readyAtMs === undefined) throw endedConflict(this.#endedError());
    return this.readyAtMs;
  }

  async terminate(): Promise<void> {}

  /** A repeat of an exec that was answered is answered again. */
  async exec(id: ProcessId): Promise<Process> {
    const process = this.#processes.get(id);
    if (!process) throw this.#endedError();
    return process;
  }

  async connect(): Promise<never> {
    throw this.#endedError();
  }

  process(id: ProcessId): Process {
    const process = this.#processes.get(id);
    if (!process) throw noProcess(this, id);
    return process;
  }

  processes(): readonly Process[] {
    return this.#processes.execs;
  }

  setName(name: string): void {
    if (this.name === name) return;
    if (this.name !== undefined) throw alreadyNamed(this.name);
    throw endedConflict(this.#endedError());
  }

  setTags(tags: Readonly<Record<string, string>>): void {
    this.#context.sandboxes.setTags(this.id, tags);
    this.#tags = tags;
  }

  async setNetworkPolicy(): Promise<void> {
    throw this.#endedError();
  }

  async setSecretHeaders(): Promise<void> {
    throw this.#endedError();
  }

  async reloadVolumes(): Promise<never> {
    throw this.#endedError();
  }

  async snapshotFilesystem(): Promise<never> {
    throw this.#endedError();
  }

  async snapshotMemory(): Promise<never> {
    throw this.#endedError();
  }

  async keepMemory(): Promise<never> {
    throw this.#endedError();
  }

  async snapshotDirectory(): Promise<never> {
    throw this.#endedError();
  }

  async mountImage(): Promise<never> {
    throw this.#endedError();
  }

  async unmountImage(): Promise<never> {
    throw this.#endedError();
  }

  events(): readonly SandboxLogEntry[] {
    return this.#context.sandboxes.events(this.taskId);
  }

  logVerbose(): void {}
  touch(): void {}
  hold(): () => void {
    return () => {};
  }

  /** Removes its output and its row: nobody may read them any more. */
  forget(): void {
    rmSync(this.#outputDir, { recursive: true, force: true });
    this.#context.sandboxes.delete(this);
  }

  get #processes(): SandboxProcesses {
    if (this.#known) return this.#known;
    const { processes: repository, ledger, logger, now, counts, maxOutputBytes } = this.#context;
    const ended = AbortSignal.abort(this.#endedError());
    this.#known = new SandboxProcesses({
      taskId: this.taskId,
      outputDir: this.#outputDir,
      budget: new OutputBudget(maxOutputBytes, ended, () => {}),
      ...{ repository, ledger, logger, now, ended, counts },
      onActivity: () => {},
      onKilled: () => {},
      hold: () => () => {},
      onNeeded: () => {},
    });
    return this.#known;
  }

  #endedError(): SkerryError {
    return sandboxEnded(this, labelOf(this));
  }
}

/** A stream that nothing was ever written to. */
const nothing: OutputReader = {
  length: 0,
  ended: true,
  async *read() {},
  times: () => [],
};
