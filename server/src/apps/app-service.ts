/** Environments and apps on the database. Ending an app's sandboxes is `sandboxes/app-reaper.ts`'s part: this file knows no sandboxes. */
import { SkerryError } from '../errors/skerry-error.ts';
import { type AppId, type EnvironmentId, newAppId, newEnvironmentId } from '../ids.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import { clip } from '../platform/text.ts';
import type { App, AppState, Apps, Environment } from './apps.ts';
import { builderVersionNames, DEFAULT_BUILDER_VERSION, isBuilderVersion } from './builder-version.ts';
import { checkEnvironmentName, checkObjectName, checkTags, isAppId } from './names.ts';
import type { AppRepository, EnvironmentRepository, EnvironmentRow } from './repositories.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const maxDescription = 512;
const webSuffixPattern = /^[a-z0-9-]{0,63}$/;

/** Where apps and environments are kept. */
export interface AppStorage {
  readonly apps: AppRepository;
  readonly environments: EnvironmentRepository;
  readonly settings: KeptValues<'default-environment'>;
}

export class AppService implements Apps {
  readonly #environments: EnvironmentRepository;
  readonly #apps: AppRepository;
  readonly #settings: KeptValues<'default-environment'>;
  readonly #now: () => number;
  #onEnvironmentDeleted: (id: EnvironmentId) => void = () => {};
  /** When clients were heard, of those that were of late: the store may not have taken it. */
  readonly #heard = new Map<AppId, number>();

  /** Makes the default environment `main` when there is none. `now` is in Unix milliseconds. */
  constructor(storage: AppStorage, now: () => number = Date.now) {
    this.#environments = storage.environments;
    this.#apps = storage.apps;
    this.#settings = storage.settings;
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
      createdAtMs: current.createdAtMs,
      imageBuilderVersion: next.imageBuilderVersion,
      webSuffix: next.webSuffix,
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
    this.#onEnvironmentDeleted(environment.id);
  }

  /** Has what others keep of environments go with them. @param listener called with each that was deleted */
  whenEnvironmentDeleted(listener: (id: EnvironmentId) => void): void {
    this.#onEnvironmentDeleted = listener;
  }

  lookup(environmentName: string, name: string, create: boolean): App {
    if (isAppId(name)) return this.get(name as AppId); // just checked to have an id's shape
    checkObjectName('app name', name);
    const environment = this.environment(environmentName);
    const existing = this.#apps.byName(environment.id, name);
    if (existing) return existing;
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
    const app = this.#apps.byId(id);
    if (!app) throw new SkerryError('not-found', `App '${clip(id)}' not found.`);
    return app;
  }

  find(environmentName: string, name: string): App | undefined {
    return this.#apps.byName(this.environment(environmentName).id, name);
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
      checkObjectName('app name', name);
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
    const nowMs = this.#now();
    this.#heard.set(id, nowMs);
    try {
      this.#apps.seen(id, nowMs);
    } catch {
      // A store without room must not make a client that lives seem gone. The next heartbeat tells it again.
    }
  }

  unheardSince(sinceMs: number): readonly App[] {
    for (const [id, heardMs] of this.#heard) if (heardMs < sinceMs) this.#heard.delete(id);
    return this.#apps.unheard(sinceMs).filter(({ id }) => !this.#heard.has(id));
  }

  list(environmentName: string): readonly App[] {
    const environment = this.environment(environmentName);
    return this.#apps.list(environment.id, this.#now() - DAY_MS);
  }

  #defaultId(): string {
    const id = this.#settings.get('default-environment');
    if (id === undefined) throw new SkerryError('internal', 'The database names no default environment.');
    return id;
  }
}

const toEnvironment = (row: EnvironmentRow, defaultId: string): Environment => ({
  ...row,
  isDefault: row.id === defaultId,
});
