/** Named and ephemeral secrets: sets of environment variables, encrypted at rest. `secret-service.ts` implements this. */
import type { EnvironmentId, SecretId } from '../ids.ts';

/** Environment variables by reference to a stored secret or inline; later sources override earlier ones. */
export type SecretSource =
  | { readonly kind: 'stored'; readonly id: SecretId }
  /** Inline values are never persisted in clear (`docs/protocol/volumes-blobs-secrets.md`, section 3). */
  | { readonly kind: 'inline'; readonly env: Readonly<Record<string, string>> };

export interface SecretInfo {
  readonly id: SecretId;
  readonly environmentId: EnvironmentId;
  /** Undefined for ephemeral ones. */
  readonly name: string | undefined;
  readonly keys: readonly string[];
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number | undefined;
}

export interface Secrets {
  /** How to treat an existing one of that name: keep its values, fail, or replace them. */
  create(
    environmentId: EnvironmentId,
    name: string,
    env: Readonly<Record<string, string>>,
    onExisting: 'keep' | 'fail' | 'replace',
  ): SecretInfo;
  /** Without a name; removed a day after its creation. */
  createEphemeral(environmentId: EnvironmentId, env: Readonly<Record<string, string>>): SecretInfo;
  /** @throws SkerryError `not-found`; `conflict` ("Secret is missing key …", a text the clients depend on) */
  lookup(environmentId: EnvironmentId, name: string, requiredKeys: readonly string[]): SecretInfo;
  /** @throws SkerryError `not-found` */
  get(id: SecretId): SecretInfo;
  /** Merges; a value of undefined removes the key. @throws SkerryError `not-found` */
  update(id: SecretId, changes: Readonly<Record<string, string | undefined>>): void;
  /** @throws SkerryError `not-found` */
  delete(id: SecretId): void;
  /** Newest first, created strictly before `beforeMs`. */
  list(environmentId: EnvironmentId, beforeMs: number | undefined, limit: number): readonly SecretInfo[];
  /** The merged environment of the sources, later ones winning. @throws SkerryError `not-found` */
  resolve(sources: readonly SecretSource[]): Record<string, string>;
  /**
   * What tells the values of ephemeral secrets apart and nothing about them to who lacks the vault's key; undefined when there is no such secret among these.
   * @throws SkerryError `not-found`
   */
  fingerprintEphemeral(ids: readonly SecretId[]): string | undefined;
}

/** Encrypts what must not be in the database in clear. `vault.ts` implements it. */
export interface Vault {
  /** `context` names what the bytes belong to (a row's id); they open only under the same one, so ciphertexts cannot be swapped. */
  seal(plaintext: Uint8Array, context?: string): Uint8Array;
  /** @throws SkerryError `internal` when the bytes were not sealed by this server's key and for this context */
  open(ciphertext: Uint8Array, context?: string): Uint8Array;
  /** A 32-byte key of its own for one purpose, the same after a restart. */
  deriveKey(purpose: string): Uint8Array;
}
