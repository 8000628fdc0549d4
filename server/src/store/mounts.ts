/** Rows of file mounts. */
import { z } from 'zod';
import type { MountedFile } from '../blobs/blobs.ts';
import type { MountRepository, MountRow } from '../blobs/repositories.ts';
import type { MountId } from '../ids.ts';
import type { Database } from './database.ts';
import { nextCreationTime } from './timestamps.ts';

const filesSchema = z.array(z.object({ path: z.string(), sha256Hex: z.string(), mode: z.number() }));

const mountRow = z.object({
  id: z.string().transform((id) => id as MountId), // the column holds only what `ids.ts` made
  checksum: z.string(),
  files: z.string().transform((text): readonly MountedFile[] => filesSchema.parse(JSON.parse(text))),
});

export class SqlMounts implements MountRepository {
  readonly #database: Database;
  readonly #byId;
  readonly #byChecksum;
  readonly #insert;
  readonly #digestsInUse;
  readonly #forgetHolding;

  constructor(database: Database) {
    this.#database = database;
    this.#byId = database.prepare('SELECT id, checksum, files FROM mounts WHERE id = ?');
    this.#byChecksum = database.prepare('SELECT id FROM mounts WHERE checksum = ? LIMIT 1');
    this.#insert = database.prepare(
      'INSERT INTO mounts (id, checksum, files, created_at_ms) VALUES (?, ?, ?, ?)',
    );
    this.#digestsInUse = database.prepare(
      `SELECT DISTINCT json_extract(file.value, '$.sha256Hex') AS digest FROM mounts, json_each(mounts.files) AS file WHERE mounts.id IN
         (SELECT value FROM sandboxes, json_each(sandboxes.spec, '$.mountIds') WHERE state != 'ended')`,
    );
    this.#forgetHolding = database.prepare(
      `DELETE FROM mounts WHERE EXISTS (SELECT 1 FROM json_each(mounts.files) AS file
         WHERE json_extract(file.value, '$.sha256Hex') IN (SELECT value FROM json_each(?)))`,
    );
  }

  byId(id: string): MountRow | undefined {
    const row = this.#byId.get(id);
    return row && mountRow.parse(row);
  }

  idOfChecksum(checksum: string): MountId | undefined {
    const row = this.#byChecksum.get(checksum);
    return row && mountRow.shape.id.parse(row.id);
  }

  insert(row: MountRow, nowMs: number): void {
    const createdAtMs = nextCreationTime(this.#database, 'mounts', nowMs);
    this.#insert.run(row.id, row.checksum, JSON.stringify(row.files), createdAtMs);
  }

  digestsInUse(): ReadonlySet<string> {
    return new Set(this.#digestsInUse.all().map(({ digest }) => String(digest)));
  }

  forgetHolding(digests: readonly string[]): void {
    this.#forgetHolding.run(JSON.stringify(digests));
  }
}
