/** Rows of images, their layers, cached steps and published names. */
import type { ImageId, LayerId } from '../ids.ts';
import type { Image, ImageConfig, PublishedImage } from '../images/image.ts';
import type { ImageRecord, ImageRepository } from '../images/repositories.ts';
import type { Database } from './database.ts';
import { transaction } from './database.ts';

type Row = Record<string, string | number | bigint | Uint8Array | null>;

export class SqlImages implements ImageRepository {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  insertBuilding(id: ImageId, builderVersion: string, nowMs: number): void {
    this.#run(
      `INSERT INTO images (id, state, builder_version, created_at_ms) VALUES (?, 'building', ?, ?)`,
      id,
      builderVersion,
      nowMs,
    );
  }

  insertReady(image: Image, definitionKey: string | undefined): void {
    this.insertBuilding(image.id, image.builderVersion, image.createdAtMs);
    this.finish(image, definitionKey, image.createdAtMs);
  }

  finish(image: Image, definitionKey: string | undefined, nowMs: number): void {
    transaction(this.#database, () => {
      if (definitionKey !== undefined) {
        this.#run('UPDATE images SET definition_key = NULL WHERE definition_key = ?', definitionKey);
      }
      this.#run(
        `UPDATE images SET state = 'ready', definition_key = ?, layers = ?, config = ?, finished_at_ms = ?, last_used_at_ms = ? WHERE id = ?`,
        definitionKey ?? null,
        JSON.stringify(image.layers),
        JSON.stringify(image.config),
        nowMs,
        nowMs,
        image.id,
      );
    });
  }

  fail(id: ImageId, state: 'failed' | 'cancelled', message: string, nowMs: number): void {
    this.#run(
      'UPDATE images SET state = ?, failure = ?, finished_at_ms = ? WHERE id = ?',
      state,
      message,
      nowMs,
      id,
    );
  }

  failUnfinished(message: string, nowMs: number): void {
    this.#run(
      `UPDATE images SET state = 'failed', failure = ?, finished_at_ms = ? WHERE state = 'building'`,
      message,
      nowMs,
    );
  }

  get(id: ImageId): ImageRecord | undefined {
    const row = this.#one('SELECT * FROM images WHERE id = ? AND deleted_at_ms IS NULL', id);
    return row && toRecord(row);
  }

  getUsed(id: ImageId): ImageRecord | undefined {
    const row = this.#one('SELECT * FROM images WHERE id = ?', id);
    return row && toRecord(row);
  }

  findReady(definitionKey: string): Image | undefined {
    const row = this.#one(
      `SELECT * FROM images WHERE definition_key = ? AND state = 'ready' AND deleted_at_ms IS NULL`,
      definitionKey,
    );
    const record = row && toRecord(row);
    return record?.state === 'ready' ? record.image : undefined;
  }

  touch(id: ImageId, nowMs: number): void {
    this.#run('UPDATE images SET last_used_at_ms = ? WHERE id = ?', nowMs, id);
  }

  markDeleted(id: ImageId, nowMs: number): void {
    transaction(this.#database, () => {
      this.#run('UPDATE images SET deleted_at_ms = ?, definition_key = NULL WHERE id = ?', nowMs, id);
      this.#run('DELETE FROM image_names WHERE image_id = ?', id);
      this.#run(
        `DELETE FROM image_steps WHERE layer_id IN (SELECT value FROM images, json_each(images.layers) WHERE images.id = ?1)
         AND layer_id NOT IN (SELECT value FROM images, json_each(images.layers) WHERE images.deleted_at_ms IS NULL)`,
        id,
      );
    });
  }

  purgeDeleted(): ImageId[] {
    const unused = `deleted_at_ms IS NOT NULL AND id NOT IN (SELECT image_id FROM sandboxes WHERE state != 'ended')`;
    const ids = this.#all(`SELECT id FROM images WHERE ${unused}`).map((row) => imageId(row.id));
    this.#run(`DELETE FROM images WHERE ${unused}`);
    return ids;
  }

  insertLayer(id: LayerId, sizeBytes: number, nowMs: number): void {
    this.#run('INSERT INTO layers (id, created_at_ms, size_bytes) VALUES (?, ?, ?)', id, nowMs, sizeBytes);
  }

  hasLayer(id: LayerId): boolean {
    return this.#one('SELECT 1 FROM layers WHERE id = ?', id) !== undefined;
  }

  deleteLayer(id: LayerId): void {
    this.#run('DELETE FROM layers WHERE id = ?', id);
  }

  allLayers(): LayerId[] {
    return this.#all('SELECT id FROM layers').map((row) => layerId(row.id));
  }

  referencedLayers(): ReadonlySet<LayerId> {
    const rows = this.#all(
      `SELECT value AS id FROM images, json_each(images.layers)
       UNION SELECT layer_id AS id FROM image_steps WHERE layer_id IS NOT NULL`,
    );
    return new Set(rows.map((row) => layerId(row.id)));
  }

  getStep(key: string): LayerId | null | undefined {
    const row = this.#one('SELECT layer_id FROM image_steps WHERE key = ?', key);
    if (!row) return undefined;
    return row.layer_id === null ? null : layerId(row.layer_id);
  }

  putStep(key: string, layer: LayerId | null, nowMs: number): void {
    this.#run(
      'INSERT INTO image_steps (key, layer_id, created_at_ms) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET layer_id = excluded.layer_id, created_at_ms = excluded.created_at_ms',
      key,
      layer,
      nowMs,
    );
  }

  publish(name: string, id: ImageId, nowMs: number): void {
    this.#run(
      'INSERT INTO image_names (name, image_id, created_at_ms, updated_at_ms) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, updated_at_ms = excluded.updated_at_ms',
      name,
      id,
      nowMs,
      nowMs,
    );
  }

  getByName(name: string): ImageId | undefined {
    const row = this.#one('SELECT image_id FROM image_names WHERE name = ?', name);
    return row && imageId(row.image_id);
  }

  names(prefix: string, after: string, limit: number): readonly PublishedImage[] {
    const rows = this.#all(
      'SELECT * FROM image_names WHERE substr(name, 1, length(?1)) = ?1 AND name > ?2 ORDER BY name LIMIT ?3',
      prefix,
      after,
      limit,
    );
    return rows.map((row) => ({
      name: String(row.name),
      imageId: imageId(row.image_id),
      createdAtMs: Number(row.created_at_ms),
      updatedAtMs: Number(row.updated_at_ms),
    }));
  }

  unpublish(name: string): boolean {
    return this.#database.prepare('DELETE FROM image_names WHERE name = ?').run(name).changes > 0;
  }

  #run(sql: string, ...values: (string | number | null)[]): void {
    this.#database.prepare(sql).run(...values);
  }

  #one(sql: string, ...values: (string | number | null)[]): Row | undefined {
    return this.#database.prepare(sql).get(...values);
  }

  #all(sql: string, ...values: (string | number | null)[]): Row[] {
    return this.#database.prepare(sql).all(...values);
  }
}

// Ids and JSON come out of columns that only this file writes, from values of the types they get back here.
const imageId = (value: unknown) => value as ImageId;
const layerId = (value: unknown) => value as LayerId;

function toRecord(row: Row): ImageRecord {
  const id = imageId(row.id);
  switch (row.state) {
    case 'building':
      return { state: 'building', id };
    case 'ready':
      return {
        state: 'ready',
        id,
        image: {
          id,
          layers: JSON.parse(String(row.layers)) as LayerId[],
          config: JSON.parse(String(row.config)) as ImageConfig,
          builderVersion: String(row.builder_version),
          createdAtMs: Number(row.created_at_ms),
        },
      };
    default:
      return {
        state: row.state === 'cancelled' ? 'cancelled' : 'failed',
        id,
        message: String(row.failure ?? ''),
      };
  }
}
