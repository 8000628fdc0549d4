/**
 * A sandbox that another server keeps and that has not ended, as the store knows it. Calls about it are that server's (`Elsewhere`): what is here is what whoever looks at many sandboxes,
 * of an app or an environment, does with each of them.
 */
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Isolation } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { ENTRYPOINT_PROCESS_ID } from '../ids.ts';
import type { ExitSnapshot } from './exit-snapshot.ts';
import type { Keeper } from './keepers.ts';
import { writtenSoFar } from './output-log.ts';
import type { SandboxRow } from './repositories.ts';
import type { OutputReader, Process, Sandbox, SandboxLogEntry, Usage } from './sandboxes.ts';
import type { SandboxResult } from './state.ts';

const USAGE_TIMEOUT_MS = 5_000;

export interface SandboxElsewhereParts {
  readonly row: SandboxRow;
  readonly keeper: Keeper;
  /** Under what it runs there: the servers are alike. */
  readonly isolation: Isolation | undefined;
  /** Where that server writes what its programs do. */
  readonly outputDir: string;
  /** What is in its log. */
  readonly events: () => readonly SandboxLogEntry[];
}

export class SandboxElsewhere implements Sandbox {
  readonly id;
  readonly taskId;
  readonly spec;
  readonly name;
  readonly tags;
  readonly createdAtMs;
  readonly startedAtMs;
  readonly readyAtMs;
  readonly deadlineMs;
  readonly state;
  readonly isolation;
  readonly endedAtMs = undefined;
  readonly startup = undefined;
  readonly result = undefined;
  readonly entrypoint = undefined;
  readonly exitSnapshot: ExitSnapshot | undefined = undefined;
  readonly stdout: OutputReader;
  readonly stderr: OutputReader;
  readonly #keeper: Keeper;
  readonly #events: SandboxElsewhereParts['events'];

  constructor({ row, keeper, isolation, outputDir, events }: SandboxElsewhereParts) {
    this.id = row.id;
    this.taskId = row.taskId;
    this.spec = row.spec;
    this.name = row.name;
    this.tags = row.tags;
    this.createdAtMs = row.createdAtMs;
    this.startedAtMs = row.startedAtMs;
    this.readyAtMs = row.readyAtMs;
    this.deadlineMs = row.deadlineMs ?? row.createdAtMs + row.spec.timeoutMs;
    this.state = row.state;
    this.isolation = isolation;
    this.#keeper = keeper;
    this.#events = events;
    this.stdout = this.#reader('stdout', join(outputDir, `${ENTRYPOINT_PROCESS_ID}.out`));
    this.stderr = this.#reader('stderr', join(outputDir, `${ENTRYPOINT_PROCESS_ID}.err`));
  }

  wait(timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined> {
    return this.#keeper.wait(this.id, timeoutMs, signal);
  }

  terminate(): Promise<void> {
    return this.#keeper.terminate(this.id);
  }

  connect(port: number, signal: AbortSignal): Promise<Duplex> {
    return this.#keeper.connect(this.id, port, signal);
  }

  events(): readonly SandboxLogEntry[] {
    return this.#events();
  }

  // Its server counts what is asked of it as activity.
  touch(): void {}
  hold(): () => void {
    return () => {};
  }
  logVerbose(): void {}

  /** Whoever looks at all of them does not wait for a server that does not answer. */
  usage(): Promise<Usage | undefined> {
    return this.#keeper.usage(this.id, AbortSignal.timeout(USAGE_TIMEOUT_MS)).catch(() => undefined);
  }

  processes(): readonly Process[] {
    return [];
  }

  // What only calls about this one sandbox ask for, which are not answered here.

  process(): never {
    throw this.#notHere();
  }
  setName(): never {
    throw this.#notHere();
  }
  setTags(): never {
    throw this.#notHere();
  }
  async waitUntilRunning(): Promise<never> {
    throw this.#notHere();
  }
  async waitUntilAwake(): Promise<never> {
    throw this.#notHere();
  }
  async suspend(): Promise<never> {
    throw this.#notHere();
  }
  async waitUntilReady(): Promise<never> {
    throw this.#notHere();
  }
  async exec(): Promise<never> {
    throw this.#notHere();
  }
  async setNetworkPolicy(): Promise<never> {
    throw this.#notHere();
  }
  async setSecretHeaders(): Promise<never> {
    throw this.#notHere();
  }
  async reloadVolumes(): Promise<never> {
    throw this.#notHere();
  }
  async snapshotFilesystem(): Promise<never> {
    throw this.#notHere();
  }
  async snapshotDirectory(): Promise<never> {
    throw this.#notHere();
  }
  async snapshotMemory(): Promise<never> {
    throw this.#notHere();
  }
  async keepMemory(): Promise<never> {
    throw this.#notHere();
  }
  async mountImage(): Promise<never> {
    throw this.#notHere();
  }
  async unmountImage(): Promise<never> {
    throw this.#notHere();
  }

  #reader(stream: 'stdout' | 'stderr', path: string): OutputReader {
    return {
      get length() {
        return writtenSoFar(path).length;
      },
      ended: false,
      read: (offset, signal) => this.#keeper.read(this.id, stream, offset, signal),
      times: () => writtenSoFar(path).times(),
    };
  }

  #notHere(): SkerryError {
    return new SkerryError(
      'unavailable',
      `Another server keeps ${this.id}. Ask again for that one by its id.`,
    );
  }
}
