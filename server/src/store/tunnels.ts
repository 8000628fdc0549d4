/** Rows of tunnels. */
import { z } from 'zod';
import type { TaskId } from '../ids.ts';
import type { TunnelRepository, TunnelRow } from '../tunnels/repositories.ts';
import { type Database, transaction } from './database.ts';

const rowSchema = z
  .object({
    task_id: z.string(),
    container_port: z.number(),
    name: z.string().nullable(),
    tls_port: z.number().nullable(),
    plain_port: z.number().nullable(),
  })
  .transform(
    (row): TunnelRow => ({
      taskId: row.task_id as TaskId, // the column holds only what `ids.ts` made
      containerPort: row.container_port,
      name: row.name ?? undefined,
      tlsPort: row.tls_port ?? undefined,
      plainPort: row.plain_port ?? undefined,
    }),
  );

export class SqlTunnels implements TunnelRepository {
  readonly #database: Database;
  readonly #all;
  readonly #delete;
  readonly #insert;

  constructor(database: Database) {
    this.#database = database;
    this.#all = database.prepare(
      'SELECT task_id, container_port, name, tls_port, plain_port FROM tunnels ORDER BY task_id, container_port',
    );
    this.#delete = database.prepare('DELETE FROM tunnels WHERE task_id = ?');
    this.#insert = database.prepare(
      'INSERT INTO tunnels (task_id, container_port, name, tls_port, plain_port) VALUES (?, ?, ?, ?, ?)',
    );
  }

  all(): readonly TunnelRow[] {
    return this.#all.all().map((row) => rowSchema.parse(row));
  }

  replace(taskId: TaskId, rows: readonly TunnelRow[]): void {
    transaction(this.#database, () => {
      this.#delete.run(taskId);
      for (const { containerPort, name, tlsPort, plainPort } of rows) {
        this.#insert.run(taskId, containerPort, name ?? null, tlsPort ?? null, plainPort ?? null);
      }
    });
  }
}
