/** Rows of environments and apps. */
import { z } from 'zod';
import type { App, AppState } from '../apps/apps.ts';
import type { AppRepository, EnvironmentRepository, EnvironmentRow, NewApp } from '../apps/repositories.ts';
import type { AppId, EnvironmentId } from '../ids.ts';
import { type Database, transaction } from './database.ts';
import { nextCreationTime } from './timestamps.ts';

// The id casts below are sound: the columns hold only what `ids.ts` made.
const environmentRow = z
  .object({
    id: z.string(),
    name: z.string(),
    created_at_ms: z.number(),
    image_builder_version: z.string(),
    web_suffix: z.string(),
  })
  .transform(
    (row): EnvironmentRow => ({
      id: row.id as EnvironmentId,
      name: row.name,
      createdAtMs: row.created_at_ms,
      imageBuilderVersion: row.image_builder_version,
      webSuffix: row.web_suffix,
    }),
  );

export class SqlEnvironments implements EnvironmentRepository {
  readonly #database: Database;
  readonly #byName;
  readonly #byId;
  readonly #all;
  readonly #insert;
  readonly #update;
  readonly #delete;
  readonly #deleteSecrets;

  constructor(database: Database) {
    this.#database = database;
    this.#byName = database.prepare('SELECT * FROM environments WHERE name = ?');
    this.#byId = database.prepare('SELECT * FROM environments WHERE id = ?');
    this.#all = database.prepare('SELECT * FROM environments ORDER BY created_at_ms');
    this.#insert = database.prepare(
      'INSERT INTO environments (id, name, created_at_ms, image_builder_version) VALUES (?, ?, ?, ?) RETURNING *',
    );
    this.#update = database.prepare(
      'UPDATE environments SET name = ?, web_suffix = ?, image_builder_version = ? WHERE id = ? RETURNING *',
    );
    this.#delete = database.prepare('DELETE FROM environments WHERE id = ?');
    this.#deleteSecrets = database.prepare('DELETE FROM secrets WHERE environment_id = ?');
  }

  byName(name: string): EnvironmentRow | undefined {
    const row = this.#byName.get(name);
    return row && environmentRow.parse(row);
  }

  byId(id: string): EnvironmentRow | undefined {
    const row = this.#byId.get(id);
    return row && environmentRow.parse(row);
  }

  all(): readonly EnvironmentRow[] {
    return this.#all.all().map((row) => environmentRow.parse(row));
  }

  insert(id: EnvironmentId, name: string, imageBuilderVersion: string, nowMs: number): EnvironmentRow {
    const createdAtMs = nextCreationTime(this.#database, 'environments', nowMs);
    return environmentRow.parse(this.#insert.get(id, name, createdAtMs, imageBuilderVersion));
  }

  update(row: EnvironmentRow): EnvironmentRow {
    return environmentRow.parse(this.#update.get(row.name, row.webSuffix, row.imageBuilderVersion, row.id));
  }

  delete(id: EnvironmentId): void {
    transaction(this.#database, () => {
      this.#deleteSecrets.run(id);
      this.#delete.run(id);
    });
  }
}

const appStates = [
  'initializing',
  'ephemeral',
  'detached',
  'deployed',
  'stopped',
] as const satisfies AppState[];

const appRow = z
  .object({
    id: z.string(),
    environment_id: z.string(),
    environment_name: z.string(),
    name: z.string().nullable(),
    description: z.string(),
    state: z.enum(appStates),
    tags: z.string(),
    created_at_ms: z.number(),
    stopped_at_ms: z.number().nullable(),
  })
  .transform(
    (row): App => ({
      id: row.id as AppId,
      environmentId: row.environment_id as EnvironmentId,
      environmentName: row.environment_name,
      name: row.name ?? undefined,
      description: row.description,
      state: row.state,
      tags: z.record(z.string(), z.string()).parse(JSON.parse(row.tags)),
      createdAtMs: row.created_at_ms,
      stoppedAtMs: row.stopped_at_ms ?? undefined,
    }),
  );

const selectApps =
  'SELECT apps.*, environments.name AS environment_name FROM apps JOIN environments ON environments.id = apps.environment_id';

export class SqlApps implements AppRepository {
  readonly #database: Database;
  readonly #byId;
  readonly #byName;
  readonly #list;
  readonly #unheard;
  readonly #insert;
  readonly #setState;
  readonly #setTags;
  readonly #seen;

  constructor(database: Database) {
    this.#database = database;
    this.#byId = database.prepare(`${selectApps} WHERE apps.id = ?`);
    this.#byName = database.prepare(
      `${selectApps} WHERE environment_id = ? AND apps.name = ? AND stopped_at_ms IS NULL`,
    );
    this.#list = database.prepare(
      `${selectApps} WHERE environment_id = ? AND (stopped_at_ms IS NULL OR stopped_at_ms >= ?)
       ORDER BY apps.created_at_ms DESC`,
    );
    this.#unheard = database.prepare(
      `${selectApps} WHERE state IN ('initializing', 'ephemeral', 'detached')
       AND COALESCE(last_seen_ms, apps.created_at_ms) < ?`,
    );
    this.#insert = database.prepare(
      `INSERT INTO apps (id, environment_id, name, description, state, tags, created_at_ms, last_seen_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#setState = database.prepare(
      'UPDATE apps SET state = ?, name = ?, stopped_at_ms = ?, last_seen_ms = ? WHERE id = ?',
    );
    this.#setTags = database.prepare('UPDATE apps SET tags = ? WHERE id = ?');
    this.#seen = database.prepare('UPDATE apps SET last_seen_ms = ? WHERE id = ? AND stopped_at_ms IS NULL');
  }

  byId(id: string): App | undefined {
    const row = this.#byId.get(id);
    return row && appRow.parse(row);
  }

  byName(environmentId: EnvironmentId, name: string): App | undefined {
    const row = this.#byName.get(environmentId, name);
    return row && appRow.parse(row);
  }

  list(environmentId: EnvironmentId, stoppedSinceMs: number): readonly App[] {
    return this.#list.all(environmentId, stoppedSinceMs).map((row) => appRow.parse(row));
  }

  unheard(beforeMs: number): readonly App[] {
    return this.#unheard.all(beforeMs).map((row) => appRow.parse(row));
  }

  insert(app: NewApp, nowMs: number): void {
    const createdAtMs = nextCreationTime(this.#database, 'apps', nowMs);
    this.#insert.run(
      app.id,
      app.environmentId,
      app.name ?? null,
      app.description,
      app.state,
      JSON.stringify(app.tags),
      createdAtMs,
      nowMs,
    );
  }

  setState(id: AppId, state: AppState, name: string | undefined, nowMs: number): void {
    this.#setState.run(state, name ?? null, state === 'stopped' ? nowMs : null, nowMs, id);
  }

  setTags(id: AppId, tags: Readonly<Record<string, string>>): void {
    this.#setTags.run(JSON.stringify(tags), id);
  }

  seen(id: AppId, nowMs: number): void {
    this.#seen.run(nowMs, id);
  }
}
