/** Environments and apps on the database. Ending an app's sandboxes is `sandboxes/app-reaper.ts`'s part: this file knows no sandboxes. */
import { SkerryError } from '../errors/skerry-error.ts';
import { type AppId, newAppId, newEnvironmentId } from '../ids.ts';
import { clip } from '../platform/text.ts';
import { AppRepository, type AppRow, EnvironmentRepository, type EnvironmentRow } from '../store/apps.ts';
import type { Database } from '../store/database.ts';
import { SettingsRepository } from '../store/settings.ts';
import type { App, AppState, Apps, Environment } from './apps.ts';
import { builderVersionNames, DEFAULT_BUILDER_VERSION, isBuilderVersion } from './builder-version.ts';
import { checkEnvironmentName, checkObjectName, checkTags, isAppId } from './names.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const maxDescription = 512;
const webSuffixPattern = /^[a-z0-9-]{0,63}$/;

export class AppService implements Apps {
  readonly #environments: EnvironmentRepository;
  readonly #apps: AppRepository;
  readonly #settings: SettingsRepository;
  readonly #now: () => number;

  /** Makes the default environment `main` when the database is new. `now` is in Unix milliseconds. */
  constructor(database: Database, now: () => number = Date.now) {
    this.#environments = new EnvironmentRepository(database);
    this.#apps = new AppRepository(database);
    this.#settings = new SettingsRepository(database);
    this.#now = now;
    if (this.#settings.get('default-environment') === undefined) {
      const row = this.#environments.insert(newEnvironmentId(), 'main', DEFAULT_BUILDER_VERSION, now());
      this.#settings.set('default-environment', row.id);
    }
  }

  environment(name: string, create = false): Environment {
    const defaultId = this.#defaultId();
    const row = name === '' ? this.#environments.byId(defaultId) : this.#environments.byName(name);
    if (row) return toEnvironment(row, defaultId);
    if (create) return this.createEnvironment(name);
    throw new SkerryError('not-found', `Environment '${clip(name)}' not found.`);
  }

  environments(): readonly Environment[] {
    const defaultId = this.#defaultId();
    return this.#environments.all().map((row) => toEnvironment(row, defaultId));
  }

  createEnvironment(name: string): Environment {
    checkEnvironmentName(name);
    if (this.#environments.byName(name)) {
      throw new SkerryError('already-exists', `Environment '${name}' already exists.`);
    }
    const row = this.#environments.insert(newEnvironmentId(), name, DEFAULT_BUILDER_VERSION, this.#now());
    return toEnvironment(row, this.#defaultId());
  }

  updateEnvironment(
    name: string,
    changes: { readonly name?: string; readonly webSuffix?: string; readonly imageBuilderVersion?: string },
  ): Environment {
    const current = this.environment(name);
    const next = { ...current, ...changes };
    if (next.name !== current.name) {
      checkEnvironmentName(next.name);
      if (this.#environments.byName(next.name)) {
        throw new SkerryError('already-exists', `Environment '${next.name}' already exists.`);
      }
    }
    if (!webSuffixPattern.test(next.webSuffix)) {
      throw new SkerryError(
        'invalid-argument',
        `Invalid web suffix '${clip(next.webSuffix)}': use at most 63 lower-case letters, digits and dashes.`,
      );
    }
    if (!isBuilderVersion(next.imageBuilderVersion)) {
      throw new SkerryError(
        'invalid-argument',
        `Unknown image builder version '${clip(next.imageBuilderVersion)}': use one of ${builderVersionNames()}.`,
      );
    }
    const row = this.#environments.update({
      id: current.id,
      name: next.name,
      created_at_ms: current.createdAtMs,
      image_builder_version: next.imageBuilderVersion,
      web_suffix: next.webSuffix,
    });
    return toEnvironment(row, this.#defaultId());
  }

  deleteEnvironment(name: string): void {
    const environment = this.environment(name);
    if (environment.isDefault) {
      throw new SkerryError(
        'conflict',
        `Environment '${environment.name}' is the default one and cannot be deleted.`,
      );
    }
    this.#environments.delete(environment.id);
  }

  lookup(environmentName: string, name: string, create: boolean): App {
    if (isAppId(name)) return this.get(name as AppId); // just checked to have an id's shape
    checkObjectName('app', name);
    const environment = this.environment(environmentName);
    const existing = this.#apps.byName(environment.id, name);
    if (existing) return toApp(existing);
    if (!create) {
      throw new SkerryError('not-found', `App '${name}' not found in environment '${environment.name}'.`);
    }
    const id = newAppId();
    this.#apps.insert(
      { id, environmentId: environment.id, name, description: name, state: 'deployed', tags: {} },
      this.#now(),
    );
    return this.get(id);
  }

  get(id: AppId): App {
    const row = this.#apps.byId(id);
    if (!row) throw new SkerryError('not-found', `App '${clip(id)}' not found.`);
    return toApp(row);
  }

  find(environmentName: string, name: string): App | undefined {
    const row = this.#apps.byName(this.environment(environmentName).id, name);
    return row && toApp(row);
  }

  createEphemeral(
    environmentName: string,
    description: string,
    state: AppState,
    tags: Readonly<Record<string, string>>,
  ): App {
    checkTags(tags);
    const environment = this.environment(environmentName);
    const id = newAppId();
    this.#apps.insert(
      {
        id,
        environmentId: environment.id,
        name: undefined,
        description: description.slice(0, maxDescription),
        state,
        tags,
      },
      this.#now(),
    );
    return this.get(id);
  }

  setState(id: AppId, state: AppState, name?: string): App {
    const app = this.get(id);
    if (name !== undefined && name !== app.name) {
      checkObjectName('app', name);
      if (this.#apps.byName(app.environmentId, name)) {
        throw new SkerryError(
          'already-exists',
          `App '${name}' already exists in environment '${app.environmentName}'.`,
        );
      }
    }
    if (app.state === 'stopped') {
      if (state === 'stopped') return app;
      throw new SkerryError('conflict', `App '${app.id}' is stopped.`);
    }
    this.#apps.setState(id, state, name ?? app.name, this.#now());
    return this.get(id);
  }

  setTags(id: AppId, tags: Readonly<Record<string, string>>): void {
    checkTags(tags);
    this.#apps.setTags(this.get(id).id, tags);
  }

  heartbeat(id: AppId): void {
    const app = this.get(id);
    if (app.state === 'stopped') throw new SkerryError('conflict', `App '${app.id}' is stopped.`);
    this.#apps.seen(id, this.#now());
  }

  unheardSince(sinceMs: number): readonly App[] {
    return this.#apps.unheard(sinceMs).map(toApp);
  }

  list(environmentName: string): readonly App[] {
    const environment = this.environment(environmentName);
    return this.#apps.list(environment.id, this.#now() - DAY_MS).map(toApp);
  }

  #defaultId(): string {
    const id = this.#settings.get('default-environment');
    if (id === undefined) throw new SkerryError('internal', 'The database names no default environment.');
    return id;
  }
}

const toEnvironment = (row: EnvironmentRow, defaultId: string): Environment => ({
  id: row.id,
  name: row.name,
  createdAtMs: row.created_at_ms,
  imageBuilderVersion: row.image_builder_version,
  webSuffix: row.web_suffix,
  isDefault: row.id === defaultId,
});

const toApp = (row: AppRow): App => ({
  id: row.id,
  environmentId: row.environment_id,
  environmentName: row.environment_name,
  name: row.name ?? undefined,
  description: row.description,
  state: row.state,
  tags: row.tags,
  createdAtMs: row.created_at_ms,
  stoppedAtMs: row.stopped_at_ms ?? undefined,
});
