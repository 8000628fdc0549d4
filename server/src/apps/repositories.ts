/** The rows that apps and environments are kept in. `store/apps.ts` implements these. */
import type { AppId, EnvironmentId } from '../ids.ts';
import type { App, AppState, Environment } from './apps.ts';

/** Which one is the default is a setting, not a column. */
export type EnvironmentRow = Omit<Environment, 'isDefault'>;

export interface EnvironmentRepository {
  byName(name: string): EnvironmentRow | undefined;
  byId(id: string): EnvironmentRow | undefined;
  /** Oldest first. */
  all(): readonly EnvironmentRow[];
  insert(id: EnvironmentId, name: string, imageBuilderVersion: string, nowMs: number): EnvironmentRow;
  update(row: EnvironmentRow): EnvironmentRow;
  /** Removes it with its apps and secrets. */
  delete(id: EnvironmentId): void;
}

export type NewApp = Pick<App, 'id' | 'environmentId' | 'name' | 'description' | 'state' | 'tags'>;

export interface AppRepository {
  byId(id: string): App | undefined;
  /** The one of that name that is not stopped. */
  byName(environmentId: EnvironmentId, name: string): App | undefined;
  /** Newest first; without those that stopped before `stoppedSinceMs`. */
  list(environmentId: EnvironmentId, stoppedSinceMs: number): readonly App[];
  /** Apps that live only as long as a client keeps them, last heard of before `beforeMs`. */
  unheard(beforeMs: number): readonly App[];
  insert(app: NewApp, nowMs: number): void;
  setState(id: AppId, state: AppState, name: string | undefined, nowMs: number): void;
  setTags(id: AppId, tags: Readonly<Record<string, string>>): void;
  /** Its client was heard of. */
  seen(id: AppId, nowMs: number): void;
}
