/** Rows of gateways. */
import { z } from 'zod';
import type { TaskId } from '../ids.ts';
import type { GatewayRepository, GatewayRow } from '../tunnels/repositories.ts';
import type { Database } from './database.ts';

const rowSchema = z
  .object({
    task_id: z.string(),
    container_port: z.number(),
    name: z.string().nullable(),
    port: z.number().nullable(),
  })
  .transform(
    (row): GatewayRow => ({
      taskId: row.task_id as TaskId, // the column holds only what `ids.ts` made
      containerPort: row.container_port,
      name: row.name ?? undefined,
      port: row.port ?? undefined,
    }),
  );

export class SqlGateways implements GatewayRepository {
  readonly #all;
  readonly #put;
  readonly #forget;

  constructor(database: Database) {
    this.#all = database.prepare(
      'SELECT task_id, container_port, name, port FROM gateways ORDER BY task_id, container_port',
    );
    this.#put = database.prepare(
      `INSERT INTO gateways (task_id, container_port, name, port) VALUES (?, ?, ?, ?)
       ON CONFLICT (task_id, container_port) DO UPDATE SET name = excluded.name, port = excluded.port`,
    );
    this.#forget = database.prepare('DELETE FROM gateways WHERE task_id = ?');
  }

  all(): readonly GatewayRow[] {
    return this.#all.all().map((row) => rowSchema.parse(row));
  }

  put({ taskId, containerPort, name, port }: GatewayRow): void {
    this.#put.run(taskId, containerPort, name ?? null, port ?? null);
  }

  forget(taskId: TaskId): void {
    this.#forget.run(taskId);
  }
}
