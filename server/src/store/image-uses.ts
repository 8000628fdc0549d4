/** What has which layer of images, and since when nobody used it. */
import { z } from 'zod';
import type { LayerId } from '../ids.ts';
import type { ImageUseRepository, LayerUse } from '../images/repositories.ts';
import { type Database, transaction } from './database.ts';

/** Every image with whether it must stay and its last use: sandboxes say until when they ran. */
const IMAGES = `
  runs AS (
    SELECT image_id, state, ended_at_ms FROM sandboxes
    UNION ALL SELECT task_images.image_id, state, ended_at_ms FROM task_images JOIN sandboxes USING (task_id)
  ),
  ran AS (SELECT image_id, max(CASE WHEN state != 'ended' THEN 1 ELSE 0 END) AS live, max(coalesce(ended_at_ms, 0)) AS ended_ms FROM runs GROUP BY image_id),
  kept AS (
    SELECT images.id, images.layers,
      CASE WHEN rebuildable = 0 OR images.state != 'ready' OR deleted_at_ms IS NOT NULL OR coalesce(live, 0) = 1
        OR images.id IN (SELECT image_id FROM image_names) THEN 1 ELSE 0 END AS held,
      max(coalesce(last_used_at_ms, created_at_ms), coalesce(ended_ms, 0)) AS used_ms
    FROM images LEFT JOIN ran ON ran.image_id = images.id
  )`;

const useRow = z
  .object({
    id: z.string(),
    size_bytes: z.number(),
    held: z.number().nullable(),
    used_ms: z.number().nullable(),
    depth: z.number().nullable(),
  })
  .transform(
    (row): LayerUse => ({
      id: row.id as LayerId, // only layers' ids are in that column
      bytes: row.size_bytes,
      lastUsedMs: row.used_ms ?? 0,
      held: row.held === 1,
      depth: row.depth ?? 0,
    }),
  );

export class SqlImageUses implements ImageUseRepository {
  readonly #database: Database;
  readonly #layerUses;
  readonly #forgetImages;
  readonly #forgetSteps;
  readonly #forgetFailed;
  readonly #forgetEmptyImages;
  readonly #forgetEmptySteps;
  readonly #count;

  constructor(database: Database) {
    this.#database = database;
    this.#layerUses = database.prepare(`WITH ${IMAGES},
      holders AS (
        SELECT value AS layer, CAST(key AS INTEGER) AS depth, held, used_ms FROM kept, json_each(kept.layers)
        UNION ALL SELECT layer_id, 0, 0, last_used_at_ms FROM image_steps WHERE layer_id IS NOT NULL
        UNION ALL SELECT value, 0, 1, 0 FROM mounted_layers, json_each(mounted_layers.layers)
          WHERE task_id IN (SELECT task_id FROM sandboxes WHERE state != 'ended')
      )
      SELECT layers.id, size_bytes, max(held) AS held, max(used_ms) AS used_ms, max(depth) AS depth
        FROM layers LEFT JOIN holders ON holders.layer = layers.id GROUP BY layers.id`);
    const among = 'IN (SELECT value FROM json_each(?1))';
    this.#forgetImages = database.prepare(
      `UPDATE images SET deleted_at_ms = ?2, definition_key = NULL WHERE deleted_at_ms IS NULL AND rebuildable = 1
         AND EXISTS (SELECT 1 FROM json_each(images.layers) WHERE value ${among})`,
    );
    this.#forgetSteps = database.prepare(`DELETE FROM image_steps WHERE layer_id ${among}`);
    this.#forgetFailed = database.prepare(
      `UPDATE images SET deleted_at_ms = ?2 WHERE deleted_at_ms IS NULL AND state IN ('failed', 'cancelled') AND finished_at_ms < ?1`,
    );
    this.#forgetEmptyImages = database.prepare(`WITH ${IMAGES}
      UPDATE images SET deleted_at_ms = ?2, definition_key = NULL WHERE id IN (SELECT id FROM kept WHERE held = 0 AND layers = '[]' AND used_ms < ?1)`);
    this.#forgetEmptySteps = database.prepare(
      'DELETE FROM image_steps WHERE layer_id IS NULL AND last_used_at_ms < ?',
    );
    this.#count = database.prepare(
      `SELECT count(*) AS count FROM images WHERE state = 'ready' AND deleted_at_ms IS NULL`,
    );
  }

  layerUses(): readonly LayerUse[] {
    return this.#layerUses.all().map((row) => useRow.parse(row));
  }

  forgetLayers(ids: readonly LayerId[], nowMs: number): number {
    const list = JSON.stringify(ids);
    return transaction(this.#database, () => {
      const { changes } = this.#forgetImages.run(list, nowMs);
      this.#forgetSteps.run(list);
      return Number(changes);
    });
  }

  forgetEmpty(beforeMs: number, nowMs: number): void {
    transaction(this.#database, () => {
      this.#forgetFailed.run(beforeMs, nowMs);
      this.#forgetEmptyImages.run(beforeMs, nowMs);
      this.#forgetEmptySteps.run(beforeMs);
    });
  }

  count(): number {
    return Number(this.#count.get()?.count ?? 0);
  }
}
