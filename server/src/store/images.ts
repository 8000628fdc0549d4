/** Images, their layers, the step cache and published names in the database. Files are `images/layer-store.ts`' concern. */
import type { ImageId, LayerId } from '../ids.ts';
import type { Image, ImageConfig } from '../images/image.ts';
import type { Database } from './database.ts';
import { transaction } from './database.ts';

/** What the database knows of an image. `cancelled` and `failed` differ only in whose doing it was. */
export type ImageRecord =
  | { readonly state: 'building'; readonly id: ImageId }
  | { readonly state: 'ready'; readonly id: ImageId; readonly image: Image }
  | { readonly state: 'failed' | 'cancelled'; readonly id: ImageId; readonly message: string };

type Row = Record<string, string | number | bigint | Uint8Array | null>;

export class ImageStore {
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

  /** Adds an image that is finished from the start: a base or a snapshot. */
  insertReady(image: Image, definitionKey: string | undefined): void {
    this.insertBuilding(image.id, image.builderVersion, image.createdAtMs);
    this.finish(image, definitionKey, image.createdAtMs);
  }

  /** Marks an image as built. With a `definitionKey` it becomes what that definition gives from now on, instead of any earlier image. */
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

  /** Ends every build that an earlier run of the server left unfinished. */
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

  /** Also one that was deleted and not purged yet. */
  getUsed(id: ImageId): ImageRecord | undefined {
    const row = this.#one('SELECT * FROM images WHERE id = ?', id);
    return row && toRecord(row);
  }

  /** The finished image of a definition. */
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

  /** Forgets an image, its names and the cached steps that only it used. Its layers stay until `purge`. */
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

  /** Removes deleted images that no living sandbox runs on. @returns their ids */
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

  /** Layers that an image, deleted ones included, or a cached step needs. */
  referencedLayers(): ReadonlySet<LayerId> {
    const rows = this.#all(
      `SELECT value AS id FROM images, json_each(images.layers)
       UNION SELECT layer_id AS id FROM image_steps WHERE layer_id IS NOT NULL`,
    );
    return new Set(rows.map((row) => layerId(row.id)));
  }

  /** The cached result of a step: its layer, `null` when it changed no file, undefined when it is not cached. */
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

  #run(sql: string, ...values: (string | number | null)[]): void {
    this.#database.prepare(sql).run(...values);
  }

  #one(sql: string, ...values: (string | number | null)[]): Row | undefined {
    return this.#database.prepare(sql).get(...values);
  }

  #all(sql: string): Row[] {
    return this.#database.prepare(sql).all();
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
