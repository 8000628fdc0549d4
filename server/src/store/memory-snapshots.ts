/** Rows of snapshots of sandboxes' memory. */
import { z } from 'zod';
import type { ImageId, MemorySnapshotId, SandboxId, TaskId } from '../ids.ts';
import type { MemorySnapshotRepository, MemorySnapshotRow } from '../sandboxes/memory-snapshots.ts';
import type { SandboxSpec } from '../sandboxes/spec.ts';
import type { Database } from './database.ts';

// The columns hold only what `insert` wrote: ids of `ids.ts`, and a specification, of which JSON leaves out what is undefined.
const rowSchema = z
  .object({
    id: z.string(),
    sandbox_id: z.string(),
    task_id: z.string(),
    spec: z.string(),
    env_ciphertext: z.instanceof(Uint8Array),
    created_at_ms: z.number(),
    expires_at_ms: z.number(),
  })
  .transform(
    (row): MemorySnapshotRow => ({
      id: row.id as MemorySnapshotId,
      sandboxId: row.sandbox_id as SandboxId,
      taskId: row.task_id as TaskId,
      spec: JSON.parse(row.spec) as SandboxSpec,
      sealedEnv: row.env_ciphertext,
      createdAtMs: row.created_at_ms,
      expiresAtMs: row.expires_at_ms,
    }),
  );

export class SqlMemorySnapshots implements MemorySnapshotRepository {
  readonly #insert;
  readonly #get;
  readonly #ofImage;
  readonly #ids;
  readonly #all;
  readonly #ofSandbox;
  readonly #expired;
  readonly #delete;

  constructor(database: Database) {
    this.#insert = database.prepare(
      'INSERT INTO memory_snapshots (id, sandbox_id, task_id, image_id, spec, env_ciphertext, created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#get = database.prepare('SELECT * FROM memory_snapshots WHERE id = ?');
    this.#ofImage = database.prepare('SELECT * FROM memory_snapshots WHERE image_id = ?');
    this.#ids = database.prepare('SELECT id FROM memory_snapshots');
    this.#all = database.prepare('SELECT * FROM memory_snapshots ORDER BY created_at_ms DESC');
    this.#ofSandbox = database.prepare(
      'SELECT * FROM memory_snapshots WHERE sandbox_id = ? ORDER BY created_at_ms DESC',
    );
    this.#expired = database.prepare(
      `SELECT id FROM memory_snapshots WHERE expires_at_ms <= ?
         OR image_id NOT IN (SELECT id FROM images WHERE deleted_at_ms IS NULL)`,
    );
    this.#delete = database.prepare('DELETE FROM memory_snapshots WHERE id = ?');
  }

  insert({ id, sandboxId, taskId, spec, sealedEnv, createdAtMs, expiresAtMs }: MemorySnapshotRow): void {
    const text = JSON.stringify(spec);
    this.#insert.run(id, sandboxId, taskId, spec.imageId, text, sealedEnv, createdAtMs, expiresAtMs);
  }

  get(id: MemorySnapshotId): MemorySnapshotRow | undefined {
    const row = this.#get.get(id);
    return row && rowSchema.parse(row);
  }

  ofImage(id: ImageId): MemorySnapshotRow | undefined {
    const row = this.#ofImage.get(id);
    return row && rowSchema.parse(row);
  }

  ids(): readonly MemorySnapshotId[] {
    return this.#ids.all().map(idOf);
  }

  all(): readonly MemorySnapshotRow[] {
    return this.#all.all().map((row) => rowSchema.parse(row));
  }

  ofSandbox(id: SandboxId): readonly MemorySnapshotRow[] {
    return this.#ofSandbox.all(id).map((row) => rowSchema.parse(row));
  }

  expired(nowMs: number): readonly MemorySnapshotId[] {
    return this.#expired.all(nowMs).map(idOf);
  }

  delete(id: MemorySnapshotId): void {
    this.#delete.run(id);
  }
}

const idOf = (row: Record<string, unknown>): MemorySnapshotId => row.id as MemorySnapshotId; // the column holds nothing else
