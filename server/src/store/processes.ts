/** Rows of processes: the idempotency of exec ids and the exits that must outlive the server. Output is in files. */
import type { ProcessId, TaskId } from '../ids.ts';
import type { ProcessRepository, ProcessRow, ProcessState } from '../sandboxes/repositories.ts';
import type { ProcessExit } from '../sandboxes/state.ts';
import type { Database } from './database.ts';

function toRow(row: Record<string, unknown>): ProcessRow {
  // Every column is written by this repository only.
  const options = JSON.parse(String(row.options)) as { pty?: boolean; timeoutMs?: number };
  return {
    id: row.id as ProcessId,
    taskId: row.task_id as TaskId,
    argv: JSON.parse(String(row.argv)) as string[],
    hasPty: options.pty === true,
    timeoutMs: options.timeoutMs,
    state: row.state as ProcessState,
    exit: row.exit === null ? undefined : (JSON.parse(String(row.exit)) as ProcessExit),
    createdAtMs: Number(row.created_at_ms),
    stdinAccepted: Number(row.stdin_accepted),
  };
}

export class SqlProcesses implements ProcessRepository {
  readonly #insert;
  readonly #setRunning;
  readonly #setEnded;
  readonly #delete;
  readonly #byTask;
  readonly #byId;

  constructor(database: Database) {
    this.#insert = database.prepare(
      `INSERT INTO processes (id, task_id, argv, options, state, created_at_ms) VALUES (?, ?, ?, ?, 'starting', ?)`,
    );
    this.#setRunning = database.prepare(
      "UPDATE processes SET state = 'running' WHERE task_id = ? AND id = ?",
    );
    this.#setEnded = database.prepare(
      "UPDATE processes SET state = 'ended', exit = ?, stdin_accepted = ?, ended_at_ms = ? WHERE task_id = ? AND id = ?",
    );
    this.#delete = database.prepare('DELETE FROM processes WHERE task_id = ? AND id = ?');
    this.#byTask = database.prepare('SELECT * FROM processes WHERE task_id = ? ORDER BY created_at_ms');
    this.#byId = database.prepare('SELECT * FROM processes WHERE task_id = ? AND id = ?');
  }

  insert(row: Pick<ProcessRow, 'id' | 'taskId' | 'argv' | 'hasPty' | 'timeoutMs' | 'createdAtMs'>): void {
    this.#insert.run(
      row.id,
      row.taskId,
      JSON.stringify(row.argv),
      JSON.stringify({ pty: row.hasPty, timeoutMs: row.timeoutMs }),
      row.createdAtMs,
    );
  }

  started(taskId: TaskId, id: ProcessId): void {
    this.#setRunning.run(taskId, id);
  }

  ended(
    { taskId, id }: Pick<ProcessRow, 'taskId' | 'id'>,
    exit: ProcessExit,
    stdinAccepted: number,
    endedAtMs: number,
  ): void {
    this.#setEnded.run(JSON.stringify(exit), stdinAccepted, endedAtMs, taskId, id);
  }

  delete(taskId: TaskId, id: ProcessId): void {
    this.#delete.run(taskId, id);
  }

  get(taskId: TaskId, id: ProcessId): ProcessRow | undefined {
    const row = this.#byId.get(taskId, id);
    return row && toRow(row);
  }

  list(taskId: TaskId): ProcessRow[] {
    return this.#byTask.all(taskId).map(toRow);
  }
}
