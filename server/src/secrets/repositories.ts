/** The rows that secrets are kept in: values are ciphertext, only their keys are in clear. `store/secrets.ts` implements this. */
import type { EnvironmentId, SecretId } from '../ids.ts';
import type { SecretInfo } from './secrets.ts';

export interface SecretRow extends SecretInfo {
  readonly ciphertext: Uint8Array;
  /** Undefined: it stays until it is deleted. */
  readonly expiresAtMs: number | undefined;
}

export interface SecretRepository {
  byId(id: string): SecretRow | undefined;
  byName(environmentId: EnvironmentId, name: string): SecretRow | undefined;
  /** Named ones, newest first, created strictly before `beforeMs`. */
  list(environmentId: EnvironmentId, beforeMs: number, limit: number): readonly SecretRow[];
  insert(secret: Omit<SecretRow, 'createdAtMs' | 'lastUsedAtMs'>, nowMs: number): SecretRow;
  setValues(id: SecretId, keys: readonly string[], ciphertext: Uint8Array): SecretRow;
  used(id: SecretId, nowMs: number): void;
  delete(id: SecretId): void;
  /** Removes what expired at or before `nowMs`; how many. */
  deleteExpired(nowMs: number): number;
}
