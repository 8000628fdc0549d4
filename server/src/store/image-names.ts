/** Published image names as lists show them. Publishing and resolving a name is `images/image-service.ts`' part. */
import { z } from 'zod';
import type { ImageId } from '../ids.ts';
import type { Database } from './database.ts';

export interface ImageName {
  readonly name: string;
  readonly imageId: ImageId;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

const nameRow = z
  .object({ name: z.string(), image_id: z.string(), created_at_ms: z.number(), updated_at_ms: z.number() })
  .transform(
    (row): ImageName => ({
      name: row.name,
      imageId: row.image_id as ImageId, // the column holds only what `ids.ts` made
      createdAtMs: row.created_at_ms,
      updatedAtMs: row.updated_at_ms,
    }),
  );

export class ImageNameRepository {
  readonly #list;
  readonly #delete;

  constructor(database: Database) {
    this.#list = database.prepare(
      'SELECT * FROM image_names WHERE substr(name, 1, length(?1)) = ?1 AND name > ?2 ORDER BY name LIMIT ?3',
    );
    this.#delete = database.prepare('DELETE FROM image_names WHERE name = ?');
  }

  /** Names that start with `prefix`, in order, after the name `after` ('' is the start). */
  list(prefix: string, after: string, limit: number): readonly ImageName[] {
    return this.#list.all(prefix, after, limit).map((row) => nameRow.parse(row));
  }

  /** Forgets a name, not its image. False when there was none. */
  delete(name: string): boolean {
    return this.#delete.run(name).changes > 0;
  }
}
