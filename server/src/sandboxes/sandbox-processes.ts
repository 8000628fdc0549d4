/**
 * The processes of one sandbox: found by id, started once per id, taken up again after a restart of the server, and over with the sandbox. Those that are
 * over are not kept: the store and their files have all of them.
 */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentClient } from '../agent/agent-client.ts';
import type { StartRequest } from '../agent/messages.ts';
import { ENTRYPOINT_PROCESS_ID, type ProcessId } from '../ids.ts';
import { ManagedProcess, type ProcessContext } from './managed-process.ts';
import { OutputBudget } from './output-budget.ts';
import type { ProcessRow } from './repositories.ts';

/** How many that are over stay at hand, with up to 128 KiB of output each: most are asked about right after their end, and hardly ever again. */
const MAX_RECENT = 16;

interface StartOptions {
  readonly signal?: AbortSignal;
  readonly failureIsExit?: boolean | undefined;
  /** As its caller gave it; the request has what is left of it. */
  readonly timeoutMs?: number | undefined;
}

export class SandboxProcesses {
  readonly #context: ProcessContext;
  /** Those that are not over, and the entrypoint. */
  readonly #known = new Map<ProcessId, ManagedProcess>();
  /** Those that are over, the latest last. */
  readonly #recent = new Map<ProcessId, ManagedProcess>();
  /** Those whose START is on its way: the same id joins. */
  readonly #starting = new Map<ProcessId, Promise<ManagedProcess>>();
  /** After a restart of the server: rows the agent may still know something of. */
  readonly #recalled = new Map<ProcessId, ProcessRow>();
  #agentAnswered: Promise<void> = Promise.resolve();

  constructor(context: ProcessContext) {
    this.#context = context;
  }

  get entrypoint(): ManagedProcess | undefined {
    return this.get(ENTRYPOINT_PROCESS_ID);
  }

  /** All but the entrypoint, oldest first. */
  get execs(): readonly ManagedProcess[] {
    const { repository, taskId } = this.#context;
    return repository
      .list(taskId)
      .filter(({ id }) => id !== ENTRYPOINT_PROCESS_ID)
      .flatMap(({ id }) => this.get(id) ?? []);
  }

  /** Whether an exec runs or is being started. */
  get busy(): boolean {
    return this.#starting.size > 0 || this.#running.length > 0;
  }

  get(id: ProcessId): ManagedProcess | undefined {
    const known = this.#known.get(id) ?? this.#recent.get(id);
    if (known) return known;
    const recalled = this.#recalled.get(id);
    if (recalled) return this.#recall(recalled);
    return this.#starting.has(id) ? undefined : this.#fromStore(id);
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
    const known = this.get(id);
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
      isNew: request.id !== ENTRYPOINT_PROCESS_ID, // that one is started again after an interrupted start
    });
    // The entrypoint's output can be followed before it runs.
    if (process.id === ENTRYPOINT_PROCESS_ID) this.#known.set(process.id, process);
    else this.#context.counts.execs++;
    const release = process.id === ENTRYPOINT_PROCESS_ID ? () => {} : this.#context.hold();
    try {
      await process.start(agent, request, options.signal ?? this.#context.ended, options.failureIsExit);
    } catch (error) {
      release();
      throw error;
    }
    this.#keep(process);
    this.#atEnd(process, release);
    return process;
  }

  /** The entrypoint runs already, since the sandbox goes on from a snapshot. */
  takeUpEntrypoint(
    agent: AgentClient,
    what: { readonly argv: readonly string[]; readonly hasPty: boolean },
  ): void {
    const process = new ManagedProcess(this.#context, {
      id: ENTRYPOINT_PROCESS_ID,
      ...what,
      timeoutMs: undefined,
      createdAtMs: this.#context.now(),
      exit: undefined,
    });
    this.#known.set(process.id, process);
    process.takeUp(agent);
  }

  /**
   * After a restart of the server: what the store knows. One whose start was not answered is left out, since it may never have been started; callers
   * of the others wait until `known` resolves.
   */
  recall(known: Promise<void>): readonly ProcessRow[] {
    const { budget } = this.#context;
    const rows = this.rows();
    this.#agentAnswered = known;
    for (const row of rows) {
      if (row.state === 'ended') budget.use(this.#outputBytes(row.id));
      if (row.state !== 'starting') this.#recalled.set(row.id, row);
    }
    return rows;
  }

  /** Goes on with what `recall` gave, once the agent told which processes it has. */
  resume(rows: readonly ProcessRow[], knownToAgent: ReadonlySet<string>, agent: AgentClient): void {
    for (const row of rows) {
      if (knownToAgent.has(row.id)) (this.#known.get(row.id) ?? this.#recall(row)).resume(agent);
      else if (row.state === 'starting') this.#delete(row.id);
      else if (row.state !== 'ended') (this.#known.get(row.id) ?? this.#recall(row)).abandon();
      else this.#known.get(row.id)?.abandon();
    }
    this.#recalled.clear();
  }

  /** As the store has them. */
  rows(): readonly ProcessRow[] {
    return this.#context.repository.list(this.#context.taskId);
  }

  /** The sandbox is suspended: they go on with `resume`, before `awake` resolves. */
  sleep(awake: Promise<void>): void {
    this.#agentAnswered = awake;
    for (const process of this.#known.values()) process.sleep(awake);
  }

  /** The sandbox goes back to what it was: what runs is over, and the entrypoint forgotten with its output, since it is one of then from now on. */
  goBack(): void {
    for (const row of this.rows()) {
      if (row.state !== 'ended') (this.#known.get(row.id) ?? this.#recall(row)).abandon();
    }
    for (const some of [this.#known, this.#recent, this.#recalled]) some.delete(ENTRYPOINT_PROCESS_ID);
    this.#delete(ENTRYPOINT_PROCESS_ID);
    for (const stream of ['out', 'err'])
      rmSync(join(this.#context.outputDir, `${ENTRYPOINT_PROCESS_ID}.${stream}`), { force: true });
  }

  /** After a restart of the server the idle clock is a new one: what still runs holds it again. */
  holdWhileRunning(): void {
    for (const process of this.#running) this.#atEnd(process, this.#context.hold());
  }

  /** Forgets all, here and in the store: the sandbox is started again. */
  reset(): void {
    for (const some of [this.#known, this.#recent, this.#recalled]) some.clear();
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

  get #running(): ManagedProcess[] {
    return [...this.#known.values()].filter(({ id, running }) => running && id !== ENTRYPOINT_PROCESS_ID);
  }

  #recall(row: ProcessRow): ManagedProcess {
    this.#recalled.delete(row.id);
    // Of one that is over the bytes are counted already.
    const process = new ManagedProcess(row.state === 'ended' ? this.#uncounted() : this.#context, row);
    process.awaitAgent(this.#agentAnswered);
    this.#keep(process);
    return process;
  }

  /** One that is over, or whose sandbox is. */
  #fromStore(id: ProcessId): ManagedProcess | undefined {
    const { repository, taskId, ended } = this.#context;
    const row = repository.get(taskId, id);
    if (!row || (row.state !== 'ended' && !ended.aborted)) return undefined;
    const process = new ManagedProcess(this.#uncounted(), row);
    process.abandon();
    this.#remember(process);
    return process;
  }

  /** Known until it is over. */
  #keep(process: ManagedProcess): void {
    this.#known.set(process.id, process);
    if (process.id === ENTRYPOINT_PROCESS_ID) return;
    void process.forgettable.then(() => {
      if (this.#known.get(process.id) !== process) return; // reset meanwhile
      this.#known.delete(process.id);
      this.#remember(process);
    });
  }

  #remember(process: ManagedProcess): void {
    this.#recent.set(process.id, process);
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > MAX_RECENT && oldest !== undefined) this.#recent.delete(oldest);
  }

  #uncounted(): ProcessContext {
    const budget = new OutputBudget(Number.POSITIVE_INFINITY, this.#context.ended, () => {});
    return { ...this.#context, budget };
  }

  #outputBytes(id: ProcessId): number {
    const size = (file: string) =>
      statSync(join(this.#context.outputDir, file), { throwIfNoEntry: false })?.size ?? 0;
    return size(`${id}.out`) + size(`${id}.err`);
  }
}
