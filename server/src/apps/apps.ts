/** Environments and the apps in them: what sandboxes are grouped and named under. `app-service.ts` implements this. */
import type { AppId, EnvironmentId } from '../ids.ts';

export interface Environment {
  readonly id: EnvironmentId;
  readonly name: string;
  readonly createdAtMs: number;
  readonly imageBuilderVersion: string;
  readonly webSuffix: string;
  readonly isDefault: boolean;
}

export type AppState = 'initializing' | 'ephemeral' | 'detached' | 'deployed' | 'stopped';

export interface App {
  readonly id: AppId;
  readonly environmentId: EnvironmentId;
  readonly environmentName: string;
  /** Undefined for ephemeral apps. */
  readonly name: string | undefined;
  readonly description: string;
  readonly state: AppState;
  readonly tags: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly stoppedAtMs: number | undefined;
}

export interface Apps {
  /** '' is the default environment. @throws SkerryError `not-found`, unless `create` */
  environment(name: string, create?: boolean): Environment;
  environments(): readonly Environment[];
  /** @throws SkerryError `already-exists`, `invalid-argument` */
  createEnvironment(name: string): Environment;
  updateEnvironment(
    name: string,
    changes: { readonly name?: string; readonly webSuffix?: string; readonly imageBuilderVersion?: string },
  ): Environment;
  /** @throws SkerryError `not-found`; `conflict` for the default one */
  deleteEnvironment(name: string): void;
  /** By name, or by id where the name has an id's shape. @throws SkerryError `not-found` unless `create` */
  lookup(environmentName: string, name: string, create: boolean): App;
  /** @throws SkerryError `not-found` */
  get(id: AppId): App;
  find(environmentName: string, name: string): App | undefined;
  createEphemeral(
    environmentName: string,
    description: string,
    state: AppState,
    tags: Readonly<Record<string, string>>,
  ): App;
  setState(id: AppId, state: AppState, name?: string): App;
  setTags(id: AppId, tags: Readonly<Record<string, string>>): void;
  /** Keeps an ephemeral app alive; one that is not heard of for 2 minutes is stopped. */
  heartbeat(id: AppId): void;
  /** Apps that live only as long as a client keeps them (not deployed ones), last heard of before `sinceMs` (Unix milliseconds). */
  unheardSince(sinceMs: number): readonly App[];
  /** Not the stopped ones older than a day. Newest first. */
  list(environmentName: string): readonly App[];
}
