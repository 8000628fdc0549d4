/** What is kept of execs of older clients. The API names what it needs of this (`api/modal/legacy/kept-execs.ts`). */
import type { ProcessId, TaskId } from '../ids.ts';
import type { Database } from './database.ts';

interface Key {
  readonly taskId: TaskId;
  readonly processId: ProcessId;
}

interface Input {
  /** In the column `input_index`: messages had nothing but numbers when it was made. */
  readonly message: string;
  readonly offset: number;
}

export class SqlLegacyExecs {
  readonly #input;
  readonly #beginInput;
  readonly #endWith;
  readonly #ending;

  constructor(database: Database) {
    this.#input = database.prepare(
      'SELECT input_index, input_offset FROM legacy_execs WHERE task_id = ? AND process_id = ? AND input_index IS NOT NULL',
    );
    this.#beginInput = database.prepare(
      `INSERT INTO legacy_execs (task_id, process_id, input_index, input_offset) VALUES (?, ?, ?, ?)
       ON CONFLICT (task_id, process_id) DO UPDATE SET input_index = excluded.input_index, input_offset = excluded.input_offset`,
    );
    this.#endWith = database.prepare(
      `INSERT INTO legacy_execs (task_id, process_id, ends_sandbox) VALUES (?, ?, 1)
       ON CONFLICT (task_id, process_id) DO UPDATE SET ends_sandbox = 1`,
    );
    this.#ending = database.prepare(
      `SELECT task_id, process_id FROM legacy_execs JOIN sandboxes USING (task_id) WHERE ends_sandbox = 1 AND state != 'ended'`,
    );
  }

  begunInput({ taskId, processId }: Key): Input | undefined {
    const row = this.#input.get(taskId, processId);
    return row && { message: String(row.input_index), offset: Number(row.input_offset) };
  }

  beginInput({ taskId, processId }: Key, { message, offset }: Input): void {
    this.#beginInput.run(taskId, processId, message, offset);
  }

  endWith({ taskId, processId }: Key): void {
    this.#endWith.run(taskId, processId);
  }

  ending(): Key[] {
    // Only this class writes the columns.
    return this.#ending.all().map((row) => ({
      taskId: row.task_id as TaskId,
      processId: row.process_id as ProcessId,
    }));
  }
}
