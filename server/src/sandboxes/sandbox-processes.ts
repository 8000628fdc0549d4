/**
 * The processes of one sandbox: found by id, started once per id, taken up again after a restart of the server, and over with the sandbox.
 */
import type { AgentClient } from '../agent/agent-client.ts';
import type { StartRequest } from '../agent/messages.ts';
import { ENTRYPOINT_PROCESS_ID, type ProcessId } from '../ids.ts';
import { ManagedProcess, type ProcessContext } from './managed-process.ts';
import type { ProcessRow } from './repositories.ts';

interface StartOptions {
  readonly signal?: AbortSignal;
  readonly failureIsExit?: boolean | undefined;
  /** As its caller gave it; the request has what is left of it. */
  readonly timeoutMs?: number | undefined;
}

export class SandboxProcesses {
  readonly #context: ProcessContext;
  readonly #known = new Map<ProcessId, ManagedProcess>();
  /** Those whose START is on its way: the same id joins. */
  readonly #starting = new Map<ProcessId, Promise<ManagedProcess>>();

  constructor(context: ProcessContext) {
    this.#context = context;
  }

  get entrypoint(): ManagedProcess | undefined {
    return this.#known.get(ENTRYPOINT_PROCESS_ID);
  }

  /** All but the entrypoint, oldest first. */
  get execs(): readonly ManagedProcess[] {
    return [...this.#known.values()].filter((process) => process.id !== ENTRYPOINT_PROCESS_ID);
  }

  /** Whether an exec runs or is being started. */
  get busy(): boolean {
    return this.#starting.size > 0 || this.execs.some((process) => process.running);
  }

  get(id: ProcessId): ManagedProcess | undefined {
    return this.#known.get(id);
  }

  /**
   * The process of that id: the one that is known or being started, else the one `makeRequest` describes. A start is not called off with the caller
   * that began it: others may have joined, and its repeat must find it.
   * @throws SkerryError as `AgentClient.start`; the id is then free again
   */
  startOnce(
    id: ProcessId,
    makeRequest: () => Promise<{ agent: AgentClient; request: StartRequest }>,
    options: Pick<StartOptions, 'failureIsExit' | 'timeoutMs'> = {},
  ) {
    const known = this.#known.get(id);
    if (known) return Promise.resolve(known);
    let starting = this.#starting.get(id);
    if (!starting) {
      starting = makeRequest()
        .then(({ agent, request }) => this.start(agent, request, options))
        .finally(() => this.#starting.delete(id));
      this.#starting.set(id, starting);
    }
    return starting;
  }

  /** Starts a process and knows it from then on. @throws SkerryError as `ManagedProcess.start`; the signal's reason */
  async start(
    agent: AgentClient,
    request: StartRequest,
    options: StartOptions = {},
  ): Promise<ManagedProcess> {
    const process = new ManagedProcess(this.#context, {
      // Ids of requests are those of processes, checked by whoever brought them.
      id: request.id as ProcessId,
      argv: request.argv,
      hasPty: request.pty != null,
      timeoutMs: options.timeoutMs,
      createdAtMs: this.#context.now(),
      exit: undefined,
    });
    // The entrypoint's output can be followed before it runs.
    if (process.id === ENTRYPOINT_PROCESS_ID) this.#known.set(process.id, process);
    const release = process.id === ENTRYPOINT_PROCESS_ID ? () => {} : this.#context.hold();
    try {
      await process.start(agent, request, options.signal ?? this.#context.ended, options.failureIsExit);
    } catch (error) {
      release();
      throw error;
    }
    this.#known.set(process.id, process);
    this.#atEnd(process, release);
    return process;
  }

  /**
   * After a restart of the server: what the store knows. One whose start was not answered is left out, since it may never have been started; callers
   * of the others wait until `known` resolves.
   */
  recall(known: Promise<void>): readonly ProcessRow[] {
    const rows = this.#context.repository.list(this.#context.taskId);
    for (const row of rows) if (row.state !== 'starting') this.#add(row).awaitAgent(known);
    return rows;
  }

  /** Goes on with what `recall` gave, once the agent told which processes it has. */
  resume(rows: readonly ProcessRow[], knownToAgent: ReadonlySet<string>, agent: AgentClient): void {
    for (const row of rows) {
      if (knownToAgent.has(row.id)) (this.#known.get(row.id) ?? this.#add(row)).resume(agent);
      else if (row.state === 'starting') this.#delete(row.id);
      else this.#known.get(row.id)?.abandon();
    }
  }

  /** After a restart of the server the idle clock is a new one: what still runs holds it again. */
  holdWhileRunning(): void {
    for (const process of this.execs) if (process.running) this.#atEnd(process, this.#context.hold());
  }

  /** What the store knows of an ended sandbox. */
  restoreEnded(): void {
    for (const row of this.#context.repository.list(this.#context.taskId)) this.#add(row).abandon();
  }

  /** Forgets all, here and in the store: the sandbox is started again. */
  reset(): void {
    this.#known.clear();
    const { repository, taskId } = this.#context;
    for (const { id } of repository.list(taskId)) this.#delete(id);
  }

  /** Lets go of all, which go on. */
  detach(): void {
    for (const process of this.#known.values()) process.detach();
  }

  /** The sandbox is gone, and all with it. */
  abandon(): void {
    for (const process of this.#known.values()) process.abandon();
  }

  #delete(id: ProcessId): void {
    const { repository, ledger, taskId } = this.#context;
    ledger.tell(`process ${taskId} ${id}`, () => repository.delete(taskId, id));
  }

  #atEnd(process: ManagedProcess, action: () => void): void {
    void process.wait(this.#context.ended).then(action, action);
  }

  #add(row: ProcessRow): ManagedProcess {
    const process = new ManagedProcess(this.#context, row);
    this.#known.set(row.id, process);
    return process;
  }
}
