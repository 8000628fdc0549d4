/** Rows of images, their layers, cached steps and published names. */
import { z } from 'zod';
import type { ImageId, LayerId, TaskId } from '../ids.ts';
import type { Image, ImageBuild, ImageConfig, PublishedImage } from '../images/image.ts';
import type { ImageRecord, ImageRepository, ListedImage } from '../images/repositories.ts';
import { type Database, transaction } from './database.ts';

// The ids and the JSON are in columns that only this file writes, from values of the types they get back here.
const imageId = (value: unknown) => value as ImageId;
const layerId = (value: unknown) => value as LayerId;

const imageRow = z
  .object({
    id: z.string(),
    state: z.enum(['building', 'ready', 'failed', 'cancelled']),
    layers: z.string(),
    config: z.string(),
    builder_version: z.string(),
    failure: z.string().nullable(),
    created_at_ms: z.number(),
    expires_at_ms: z.number().nullable(),
    encrypted: z.number(),
    snapshots: z.number(),
  })
  .transform((row): ImageRecord => {
    const id = imageId(row.id);
    if (row.state === 'building') return { state: row.state, id };
    if (row.state !== 'ready') return { state: row.state, id, message: row.failure ?? '' };
    const image = {
      id,
      layers: JSON.parse(row.layers) as LayerId[],
      config: JSON.parse(row.config) as ImageConfig,
      builderVersion: row.builder_version,
      createdAtMs: row.created_at_ms,
      expiresAtMs: row.expires_at_ms ?? undefined,
      encrypted: row.encrypted !== 0,
      snapshots: row.snapshots,
    };
    return { state: row.state, id, image };
  });

const buildRow = z
  .object({
    id: z.string(),
    base_id: z.string().nullable(),
    created_at_ms: z.number(),
    finished_at_ms: z.number().nullable(),
  })
  .transform(
    (row): ImageBuild => ({
      id: imageId(row.id),
      baseId: row.base_id === null ? undefined : imageId(row.base_id),
      startedAtMs: row.created_at_ms,
      endedAtMs: row.finished_at_ms ?? undefined,
    }),
  );

const nameRow = z
  .object({ name: z.string(), image_id: z.string(), created_at_ms: z.number(), updated_at_ms: z.number() })
  .transform(
    (row): PublishedImage => ({
      name: row.name,
      imageId: imageId(row.image_id),
      createdAtMs: row.created_at_ms,
      updatedAtMs: row.updated_at_ms,
    }),
  );

const listedRow = z
  .object({
    id: z.string(),
    state: z.enum(['building', 'ready', 'failed', 'cancelled']),
    names: z.string(),
    definition_key: z.string().nullable(),
    layers: z.number(),
    bytes: z.number().nullable(),
    created_at_ms: z.number(),
    last_used_at_ms: z.number().nullable(),
  })
  .transform(
    (row): ListedImage => ({
      id: imageId(row.id),
      state: row.state,
      names: JSON.parse(row.names) as string[],
      definitionKey: row.definition_key ?? undefined,
      layers: row.layers,
      bytes: row.bytes ?? 0,
      createdAtMs: row.created_at_ms,
      lastUsedAtMs: row.last_used_at_ms ?? undefined,
    }),
  );
const layerRow = z
  .object({ size_bytes: z.number(), created_at_ms: z.number() })
  .transform((row) => ({ bytes: row.size_bytes, madeAtMs: row.created_at_ms }));

export class SqlImages implements ImageRepository {
  readonly #database: Database;
  readonly #insert;
  readonly #freeDefinition;
  readonly #finish;
  readonly #fail;
  readonly #failUnfinished;
  readonly #get;
  readonly #getUsed;
  readonly #findReady;
  readonly #touch;
  readonly #expired;
  readonly #markDeleted;
  readonly #deleteNames;
  readonly #deleteSteps;
  readonly #purgeDeleted;
  readonly #insertLayer;
  readonly #hasLayer;
  readonly #getLayer;
  readonly #list;
  readonly #deleteLayer;
  readonly #allLayers;
  readonly #referencedLayers;
  readonly #holdLayers;
  readonly #holdImage;
  readonly #getStep;
  readonly #touchStep;
  readonly #touchNamed;
  readonly #putStep;
  readonly #publish;
  readonly #getByName;
  readonly #names;
  readonly #unpublish;

  constructor(database: Database) {
    this.#database = database;
    this.#insert = database.prepare(
      `INSERT INTO images (id, state, builder_version, base_id, created_at_ms) VALUES (?, 'building', ?, ?, ?)`,
    );
    this.#freeDefinition = database.prepare(
      'UPDATE images SET definition_key = NULL WHERE definition_key = ?',
    );
    this.#finish = database.prepare(
      `UPDATE images SET state = 'ready', definition_key = ?, rebuildable = ?, layers = ?, config = ?, expires_at_ms = ?, encrypted = ?, snapshots = ?, finished_at_ms = ?, last_used_at_ms = ? WHERE id = ?`,
    );
    this.#fail = database.prepare(
      'UPDATE images SET state = ?, failure = ?, finished_at_ms = ? WHERE id = ?',
    );
    this.#failUnfinished = database.prepare(
      `UPDATE images SET state = 'failed', failure = ?, finished_at_ms = ? WHERE state = 'building'`,
    );
    this.#get = database.prepare('SELECT * FROM images WHERE id = ? AND deleted_at_ms IS NULL');
    this.#getUsed = database.prepare('SELECT * FROM images WHERE id = ?');
    this.#findReady = database.prepare(
      `SELECT * FROM images WHERE definition_key = ? AND state = 'ready' AND deleted_at_ms IS NULL`,
    );
    this.#touch = database.prepare('UPDATE images SET last_used_at_ms = ? WHERE id = ?');
    this.#expired = database.prepare(
      'SELECT id FROM images WHERE expires_at_ms <= ? AND deleted_at_ms IS NULL',
    );
    this.#markDeleted = database.prepare(
      'UPDATE images SET deleted_at_ms = ?, definition_key = NULL WHERE id = ?',
    );
    this.#deleteNames = database.prepare('DELETE FROM image_names WHERE image_id = ?');
    this.#deleteSteps =
      database.prepare(`DELETE FROM image_steps WHERE layer_id IN (SELECT value FROM images, json_each(images.layers) WHERE images.id = ?1)
         AND layer_id NOT IN (SELECT value FROM images, json_each(images.layers) WHERE images.deleted_at_ms IS NULL)`);
    this.#purgeDeleted = database.prepare(`DELETE FROM images WHERE deleted_at_ms IS NOT NULL
       AND id NOT IN (SELECT image_id FROM sandboxes WHERE state != 'ended')
       AND id NOT IN (SELECT image_id FROM task_images WHERE task_id IN (SELECT task_id FROM sandboxes WHERE state != 'ended'))
       RETURNING id`);
    this.#insertLayer = database.prepare(
      'INSERT INTO layers (id, created_at_ms, size_bytes) VALUES (?, ?, ?)',
    );
    this.#hasLayer = database.prepare('SELECT 1 FROM layers WHERE id = ?');
    this.#getLayer = database.prepare('SELECT size_bytes, created_at_ms FROM layers WHERE id = ?');
    this.#list = database.prepare(`SELECT id, state, definition_key, created_at_ms, last_used_at_ms,
         (SELECT json_group_array(name) FROM image_names WHERE image_id = images.id) AS names,
         json_array_length(layers) AS layers,
         (SELECT sum(size_bytes) FROM json_each(images.layers) JOIN layers ON layers.id = value) AS bytes
       FROM images WHERE deleted_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > ?1)
       ORDER BY created_at_ms DESC, id LIMIT ?2`);
    this.#deleteLayer = database.prepare('DELETE FROM layers WHERE id = ?');
    this.#allLayers = database.prepare('SELECT id FROM layers WHERE created_at_ms <= ?');
    this.#referencedLayers = database.prepare(`SELECT value AS id FROM images, json_each(images.layers)
       UNION SELECT layer_id AS id FROM image_steps WHERE layer_id IS NOT NULL
       UNION SELECT value AS id FROM mounted_layers, json_each(mounted_layers.layers)
         WHERE task_id IN (SELECT task_id FROM sandboxes WHERE state != 'ended')`);
    this.#holdLayers = database.prepare(
      'INSERT INTO mounted_layers (task_id, layers) VALUES (?, ?) ON CONFLICT (task_id) DO UPDATE SET layers = excluded.layers',
    );
    this.#holdImage = database.prepare(
      'INSERT INTO task_images (task_id, image_id) VALUES (?, ?) ON CONFLICT (task_id) DO UPDATE SET image_id = excluded.image_id',
    );
    this.#getStep = database.prepare('SELECT layer_id FROM image_steps WHERE key = ?');
    this.#touchStep = database.prepare('UPDATE image_steps SET last_used_at_ms = ? WHERE key = ?');
    this.#putStep = database.prepare(
      `INSERT INTO image_steps (key, layer_id, created_at_ms, last_used_at_ms) VALUES (?1, ?2, ?3, ?3)
       ON CONFLICT (key) DO UPDATE SET layer_id = ?2, created_at_ms = ?3, last_used_at_ms = ?3`,
    );
    this.#touchNamed = database.prepare(
      'UPDATE images SET last_used_at_ms = ? WHERE id = (SELECT image_id FROM image_names WHERE name = ?)',
    );
    this.#publish = database.prepare(
      'INSERT INTO image_names (name, image_id, created_at_ms, updated_at_ms) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, updated_at_ms = excluded.updated_at_ms',
    );
    this.#getByName = database.prepare('SELECT image_id FROM image_names WHERE name = ?');
    this.#names = database.prepare(
      'SELECT * FROM image_names WHERE substr(name, 1, length(?1)) = ?1 AND name > ?2 ORDER BY name LIMIT ?3',
    );
    this.#unpublish = database.prepare('DELETE FROM image_names WHERE name = ?');
  }

  insertBuilding(id: ImageId, builderVersion: string, baseId: ImageId | undefined, nowMs: number): void {
    this.#insert.run(id, builderVersion, baseId ?? null, nowMs);
  }

  insertReady(image: Image, definitionKey: string | undefined): void {
    this.insertBuilding(image.id, image.builderVersion, undefined, image.createdAtMs);
    this.#finishAs(image, definitionKey, definitionKey !== undefined, image.createdAtMs);
  }

  finish(image: Image, definitionKey: string | undefined, nowMs: number): void {
    this.#finishAs(image, definitionKey, true, nowMs);
  }

  #finishAs(image: Image, definitionKey: string | undefined, rebuildable: boolean, nowMs: number): void {
    transaction(this.#database, () => {
      if (definitionKey !== undefined) this.#freeDefinition.run(definitionKey);
      this.#finish.run(
        definitionKey ?? null,
        rebuildable ? 1 : 0,
        JSON.stringify(image.layers),
        JSON.stringify(image.config),
        image.expiresAtMs ?? null,
        image.encrypted ? 1 : 0,
        image.snapshots ?? 0,
        nowMs,
        nowMs,
        image.id,
      );
    });
  }

  fail(id: ImageId, state: 'failed' | 'cancelled', message: string, nowMs: number): void {
    this.#fail.run(state, message, nowMs, id);
  }

  failUnfinished(message: string, nowMs: number): void {
    this.#failUnfinished.run(message, nowMs);
  }

  get(id: ImageId): ImageRecord | undefined {
    const row = this.#get.get(id);
    return row && imageRow.parse(row);
  }

  build(id: ImageId): ImageBuild | undefined {
    const row = this.#get.get(id);
    return row && buildRow.parse(row);
  }

  getUsed(id: ImageId): ImageRecord | undefined {
    const row = this.#getUsed.get(id);
    return row && imageRow.parse(row);
  }

  findReady(definitionKey: string): Image | undefined {
    const row = this.#findReady.get(definitionKey);
    const record = row && imageRow.parse(row);
    return record?.state === 'ready' ? record.image : undefined;
  }

  touch(id: ImageId, nowMs: number): void {
    this.#touch.run(nowMs, id);
  }

  list(nowMs: number, limit: number): readonly ListedImage[] {
    return this.#list.all(nowMs, limit).map((row) => listedRow.parse(row));
  }

  expired(nowMs: number): ImageId[] {
    return this.#expired.all(nowMs).map((row) => imageId(row.id));
  }

  markDeleted(id: ImageId, nowMs: number): void {
    transaction(this.#database, () => {
      this.#markDeleted.run(nowMs, id);
      this.#deleteNames.run(id);
      this.#deleteSteps.run(id);
    });
  }

  purgeDeleted(): ImageId[] {
    return this.#purgeDeleted.all().map((row) => imageId(row.id));
  }

  insertLayer(id: LayerId, sizeBytes: number, nowMs: number): void {
    this.#insertLayer.run(id, nowMs, sizeBytes);
  }

  hasLayer(id: LayerId): boolean {
    return this.#hasLayer.get(id) !== undefined;
  }

  getLayer(id: LayerId): { readonly bytes: number; readonly madeAtMs: number } | undefined {
    const row = this.#getLayer.get(id);
    return row && layerRow.parse(row);
  }

  deleteLayer(id: LayerId): void {
    this.#deleteLayer.run(id);
  }

  allLayers(beforeMs = Number.MAX_SAFE_INTEGER): LayerId[] {
    return this.#allLayers.all(beforeMs).map((row) => layerId(row.id));
  }

  holdLayers(task: TaskId, layers: readonly LayerId[]): void {
    this.#holdLayers.run(task, JSON.stringify(layers));
  }

  referencedLayers(): ReadonlySet<LayerId> {
    const rows = this.#referencedLayers.all();
    return new Set(rows.map((row) => layerId(row.id)));
  }

  holdImage(task: TaskId, id: ImageId): void {
    this.#holdImage.run(task, id);
  }

  getStep(key: string): LayerId | null | undefined {
    const row = this.#getStep.get(key);
    if (!row) return undefined;
    return row.layer_id === null ? null : layerId(row.layer_id);
  }

  touchStep(key: string, nowMs: number): void {
    this.#touchStep.run(nowMs, key);
  }

  putStep(key: string, layer: LayerId | null, nowMs: number): void {
    this.#putStep.run(key, layer, nowMs);
  }

  publish(name: string, id: ImageId, nowMs: number): void {
    transaction(this.#database, () => {
      this.#touchNamed.run(nowMs, name);
      this.#publish.run(name, id, nowMs, nowMs);
    });
  }

  getByName(name: string): ImageId | undefined {
    const row = this.#getByName.get(name);
    return row && imageId(row.image_id);
  }

  names(prefix: string, after: string, limit: number): readonly PublishedImage[] {
    const rows = this.#names.all(prefix, after, limit);
    return rows.map((row) => nameRow.parse(row));
  }

  unpublish(name: string, nowMs: number): boolean {
    return transaction(this.#database, () => {
      this.#touchNamed.run(nowMs, name);
      return this.#unpublish.run(name).changes > 0;
    });
  }
}
