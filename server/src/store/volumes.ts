/** Rows of volumes, and of where the blocks of their files are. */
import { z } from 'zod';
import type { EnvironmentId, TaskId, UploadId, VolumeId, VolumeLayerId, VolumeMountId } from '../ids.ts';
import type {
  BlockPlace,
  BlockRepository,
  VolumeMountRepository,
  VolumeMountRow,
  VolumeRepository,
  VolumeVersion,
} from '../volumes/repositories.ts';
import type { VolumeInfo } from '../volumes/volumes.ts';
import { type Database, transaction } from './database.ts';
import { nextCreationTime } from './timestamps.ts';

// The columns hold only ids that `ids.ts` made.
const volumeRow = z
  .object({
    id: z.string(),
    environment_id: z.string(),
    name: z.string().nullable(),
    protocol: z.literal([1, 2]),
    created_at_ms: z.number(),
  })
  .transform(
    (row): VolumeInfo => ({
      id: row.id as VolumeId,
      environmentId: row.environment_id as EnvironmentId,
      name: row.name ?? undefined,
      protocol: row.protocol,
      createdAtMs: row.created_at_ms,
    }),
  );

const layersColumn = z
  .string()
  .transform((text) => z.array(z.string()).parse(JSON.parse(text)) as VolumeLayerId[]);

const versionRow = z
  .object({ version: z.number(), layers: layersColumn, bytes: z.number(), files: z.number() })
  .transform(({ version, ...rest }): VolumeVersion => ({ number: version, ...rest }));

export class SqlVolumes implements VolumeRepository {
  readonly #database: Database;
  readonly #byId;
  readonly #byName;
  readonly #list;
  readonly #insert;
  readonly #rename;
  readonly #heard;
  readonly #delete;
  readonly #unheard;
  readonly #version;
  readonly #setVersion;
  readonly #layers;

  constructor(database: Database) {
    this.#database = database;
    this.#byId = database.prepare('SELECT * FROM volumes WHERE id = ?');
    this.#byName = database.prepare('SELECT * FROM volumes WHERE environment_id = ? AND name = ?');
    this.#list = database.prepare(
      `SELECT * FROM volumes WHERE environment_id = ? AND name IS NOT NULL AND created_at_ms < ?
       ORDER BY created_at_ms DESC LIMIT ?`,
    );
    this.#insert = database.prepare(
      `INSERT INTO volumes (id, environment_id, name, protocol, created_at_ms, last_heard_ms)
       VALUES (?, ?, ?, ?, ?5, ?5) RETURNING *`,
    );
    this.#rename = database.prepare('UPDATE volumes SET name = ? WHERE id = ?');
    this.#heard = database.prepare('UPDATE volumes SET last_heard_ms = ? WHERE id = ?');
    this.#delete = database.prepare('DELETE FROM volumes WHERE id = ?');
    this.#unheard = database.prepare('SELECT id FROM volumes WHERE name IS NULL AND last_heard_ms < ?');
    this.#version = database.prepare('SELECT version, layers, bytes, files FROM volumes WHERE id = ?');
    this.#setVersion = database.prepare(
      'UPDATE volumes SET version = ?, layers = ?, bytes = ?, files = ? WHERE id = ?',
    );
    this.#layers = database.prepare(
      'SELECT layers FROM volumes UNION SELECT base FROM volume_mounts UNION SELECT shown FROM volume_mounts UNION SELECT reloading FROM volume_mounts WHERE reloading IS NOT NULL',
    );
  }

  byId(id: string): VolumeInfo | undefined {
    const row = this.#byId.get(id);
    return row && volumeRow.parse(row);
  }

  byName(environmentId: EnvironmentId, name: string): VolumeInfo | undefined {
    const row = this.#byName.get(environmentId, name);
    return row && volumeRow.parse(row);
  }

  list(environmentId: EnvironmentId, beforeMs: number, limit: number): readonly VolumeInfo[] {
    return this.#list.all(environmentId, beforeMs, limit).map((row) => volumeRow.parse(row));
  }

  insert(volume: Omit<VolumeInfo, 'createdAtMs'>, nowMs: number): VolumeInfo {
    const { id, environmentId, name = null, protocol } = volume;
    const createdAtMs = nextCreationTime(this.#database, 'volumes', nowMs);
    return volumeRow.parse(this.#insert.get(id, environmentId, name, protocol, createdAtMs));
  }

  rename(id: VolumeId, name: string): void {
    this.#rename.run(name, id);
  }

  heard(id: VolumeId, nowMs: number): void {
    this.#heard.run(nowMs, id);
  }

  delete(id: VolumeId): void {
    this.#delete.run(id);
  }

  unheard(beforeMs: number): readonly VolumeId[] {
    return this.#unheard.all(beforeMs).map(({ id }) => id as VolumeId);
  }

  version(id: VolumeId): VolumeVersion | undefined {
    const row = this.#version.get(id);
    return row && versionRow.parse(row);
  }

  setVersion(id: VolumeId, { number, layers, bytes, files }: VolumeVersion): void {
    this.#setVersion.run(number, JSON.stringify(layers), bytes, files, id);
  }

  usedLayers(): ReadonlySet<VolumeLayerId> {
    return new Set(this.#layers.all().flatMap(({ layers }) => layersColumn.parse(layers)));
  }
}

const mountRow = z
  .object({
    id: z.string(),
    task_id: z.string(),
    volume_id: z.string(),
    writable: z.number(),
    base: layersColumn,
    shown: layersColumn,
    reloading: layersColumn.nullable(),
    first_id: z.number().nullable(),
  })
  .transform(
    ({ id, task_id, volume_id, writable, base, shown, reloading, first_id }): VolumeMountRow => ({
      id: id as VolumeMountId,
      taskId: task_id as TaskId,
      volumeId: volume_id as VolumeId,
      writable: writable === 1,
      base,
      shown,
      reloading: reloading ?? undefined,
      firstId: first_id ?? undefined,
    }),
  );

export class SqlVolumeMounts implements VolumeMountRepository {
  readonly #get;
  readonly #ofTask;
  readonly #ofVolume;
  readonly #all;
  readonly #insert;
  readonly #setShown;
  readonly #setReloading;
  readonly #delete;

  constructor(database: Database) {
    this.#get = database.prepare('SELECT * FROM volume_mounts WHERE id = ?');
    this.#ofTask = database.prepare('SELECT * FROM volume_mounts WHERE task_id = ?');
    this.#ofVolume = database.prepare('SELECT * FROM volume_mounts WHERE volume_id = ? ORDER BY rowid');
    this.#all = database.prepare('SELECT * FROM volume_mounts ORDER BY rowid');
    this.#insert = database.prepare(
      'INSERT INTO volume_mounts (id, task_id, volume_id, writable, base, shown, first_id) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#setShown = database.prepare('UPDATE volume_mounts SET shown = ?, reloading = NULL WHERE id = ?');
    this.#setReloading = database.prepare('UPDATE volume_mounts SET reloading = ? WHERE id = ?');
    this.#delete = database.prepare('DELETE FROM volume_mounts WHERE id = ?');
  }

  get(id: VolumeMountId): VolumeMountRow | undefined {
    const row = this.#get.get(id);
    return row && mountRow.parse(row);
  }

  ofTask(taskId: TaskId): readonly VolumeMountRow[] {
    return this.#ofTask.all(taskId).map((row) => mountRow.parse(row));
  }

  ofVolume(volumeId: VolumeId): readonly VolumeMountRow[] {
    return this.#ofVolume.all(volumeId).map((row) => mountRow.parse(row));
  }

  all(): readonly VolumeMountRow[] {
    return this.#all.all().map((row) => mountRow.parse(row));
  }

  insert({ id, taskId, volumeId, writable, base, shown, firstId }: Omit<VolumeMountRow, 'reloading'>): void {
    const layers = [JSON.stringify(base), JSON.stringify(shown)];
    this.#insert.run(id, taskId, volumeId, Number(writable), ...layers, firstId ?? null);
  }

  setReloading(id: VolumeMountId, layers: readonly VolumeLayerId[]): void {
    this.#setReloading.run(JSON.stringify(layers), id);
  }

  setShown(id: VolumeMountId, layers: readonly VolumeLayerId[]): void {
    this.#setShown.run(JSON.stringify(layers), id);
  }

  delete(id: VolumeMountId): void {
    this.#delete.run(id);
  }
}

const placeRow = z.object({
  holder: z.string().transform((id) => id as UploadId | VolumeLayerId),
  path: z.string(),
  offset: z.number(),
  length: z.number(),
});

export class SqlBlocks implements BlockRepository {
  readonly #database: Database;
  readonly #insert;
  readonly #find;
  readonly #received;
  readonly #uncover;
  readonly #move;
  readonly #uncoverAll;
  readonly #merge;
  readonly #forget;
  readonly #forgetHolder;

  constructor(database: Database) {
    this.#database = database;
    this.#insert = database.prepare(
      `INSERT INTO volume_blocks (sha256, holder, path, "offset", length) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (holder, path, "offset") DO UPDATE SET sha256 = excluded.sha256, length = excluded.length`,
    );
    this.#find = database.prepare(
      'SELECT holder, path, "offset", length FROM volume_blocks WHERE sha256 = ? LIMIT 1',
    );
    this.#received = database.prepare(
      'SELECT "offset", sha256 FROM volume_blocks WHERE holder = ? AND path = ?',
    );
    this.#uncover = database.prepare(
      `DELETE FROM volume_blocks WHERE holder = ?1 AND path = ?2
         AND "offset" IN (SELECT "offset" FROM volume_blocks WHERE holder = ?3 AND path = ?4)`,
    );
    this.#move = database.prepare(
      'UPDATE volume_blocks SET holder = ?, path = ? WHERE holder = ? AND path = ?',
    );
    this.#uncoverAll = database.prepare(
      `DELETE FROM volume_blocks WHERE holder = ?1 AND EXISTS (SELECT 1 FROM volume_blocks AS above
         WHERE above.holder = ?2 AND above.path = volume_blocks.path AND above."offset" = volume_blocks."offset")`,
    );
    this.#merge = database.prepare('UPDATE volume_blocks SET holder = ? WHERE holder = ?');
    this.#forget = database.prepare(
      'DELETE FROM volume_blocks WHERE holder = ? AND path = ? AND "offset" = ?',
    );
    this.#forgetHolder = database.prepare('DELETE FROM volume_blocks WHERE holder = ?');
  }

  insert(sha256Hex: string, { holder, path, offset, length }: BlockPlace): void {
    this.#insert.run(sha256Hex, holder, path, offset, length);
  }

  find(sha256Hex: string): BlockPlace | undefined {
    const row = this.#find.get(sha256Hex);
    return row && placeRow.parse(row);
  }

  received(upload: UploadId, path: string): ReadonlyMap<number, string> {
    return new Map(
      this.#received.all(upload, path).map(({ offset, sha256 }) => [Number(offset), String(sha256)]),
    );
  }

  move(upload: UploadId, layer: VolumeLayerId, paths: ReadonlyMap<string, string>): void {
    transaction(this.#database, () => {
      for (const [from, to] of paths) {
        this.#uncover.run(layer, to, upload, from);
        this.#move.run(layer, to, upload, from);
      }
      this.#forgetHolder.run(upload);
    });
  }

  merge(layers: readonly VolumeLayerId[], into: VolumeLayerId): void {
    transaction(this.#database, () => {
      // The higher ones last: theirs are what the merged files hold.
      for (const layer of layers.filter((id) => id !== into)) {
        this.#uncoverAll.run(into, layer);
        this.#merge.run(into, layer);
      }
    });
  }

  forget({ holder, path, offset }: BlockPlace): void {
    this.#forget.run(holder, path, offset);
  }

  forgetHolder(holder: UploadId | VolumeLayerId): void {
    this.#forgetHolder.run(holder);
  }
}
