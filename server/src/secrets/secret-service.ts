/** Secrets: values sealed by the vault, each bound to its secret's id. */
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { checkObjectName } from '../apps/names.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type EnvironmentId, newSecretId, type SecretId } from '../ids.ts';
import { pageSize } from '../platform/paging.ts';
import { clip } from '../platform/text.ts';
import { checkEnvironmentVariables } from './environment-variables.ts';
import type { SecretRepository, SecretRow } from './repositories.ts';
import { openJson, sealJson } from './sealed-json.ts';
import type { SecretInfo, SecretSource, Secrets, Vault } from './secrets.ts';

/** How long an ephemeral secret can be referred to: long enough for any build or create that its caller has under way. */
const EPHEMERAL_MS = 24 * 60 * 60 * 1000;

type Variables = Readonly<Record<string, string>>;

/** What is sealed: pairs, since a record would lose a variable named `__proto__`. */
const variablesSchema = z.array(z.tuple([z.string(), z.string()]));

export class SecretService implements Secrets {
  readonly #secrets: SecretRepository;
  readonly #vault: Vault;
  readonly #now: () => number;

  /** `now` is in Unix milliseconds. */
  constructor(secrets: SecretRepository, vault: Vault, now: () => number = Date.now) {
    this.#secrets = secrets;
    this.#vault = vault;
    this.#now = now;
  }

  create(
    environmentId: EnvironmentId,
    name: string,
    env: Variables,
    onExisting: 'keep' | 'fail' | 'replace',
  ): SecretInfo {
    checkObjectName('secret name', name);
    checkEnvironmentVariables(env, 'A secret');
    const existing = this.#secrets.byName(environmentId, name);
    if (!existing) return this.#insert(environmentId, name, env, undefined);
    switch (onExisting) {
      case 'keep':
        return toInfo(existing);
      case 'fail':
        throw new SkerryError('already-exists', `Secret '${name}' already exists.`);
      case 'replace':
        return this.#replace(existing.id, env);
      default:
        return onExisting satisfies never;
    }
  }

  createEphemeral(environmentId: EnvironmentId, env: Variables): SecretInfo {
    checkEnvironmentVariables(env, 'A secret');
    return this.#insert(environmentId, undefined, env, this.#now() + EPHEMERAL_MS);
  }

  lookup(environmentId: EnvironmentId, name: string, requiredKeys: readonly string[]): SecretInfo {
    const row = this.#secrets.byName(environmentId, name);
    if (!row) throw new SkerryError('not-found', `Secret '${clip(name)}' not found.`);
    const missing = requiredKeys.filter((key) => !row.keys.includes(key));
    if (missing.length > 0) {
      const names = missing.slice(0, 20).map(clip).join(', ');
      // Programs look for these words, the JavaScript client for the first four.
      throw new SkerryError('conflict', `Secret is missing key(s): ${names} (secret '${name}').`);
    }
    return toInfo(row);
  }

  get(id: SecretId): SecretInfo {
    return toInfo(this.#row(id));
  }

  update(id: SecretId, changes: Readonly<Record<string, string | undefined>>): void {
    const merged = new Map(Object.entries(this.#open(this.#row(id))));
    for (const [key, value] of Object.entries(changes)) {
      if (value === undefined) merged.delete(key);
      else merged.set(key, value);
    }
    const env = Object.fromEntries(merged);
    checkEnvironmentVariables(env, 'A secret');
    this.#replace(id, env);
  }

  delete(id: SecretId): void {
    this.#secrets.delete(this.#row(id).id);
  }

  list(environmentId: EnvironmentId, beforeMs: number | undefined, limit: number): readonly SecretInfo[] {
    const before = beforeMs ?? Number.MAX_SAFE_INTEGER;
    return this.#secrets.list(environmentId, before, pageSize(limit)).map(toInfo);
  }

  resolve(sources: readonly SecretSource[]): Record<string, string> {
    const merged = new Map<string, string>();
    for (const source of sources) {
      for (const [key, value] of Object.entries(this.#values(source))) merged.set(key, value);
    }
    return Object.fromEntries(merged);
  }

  fingerprintEphemeral(ids: readonly SecretId[]): string | undefined {
    const rows = ids.map((id) => this.#row(id)).filter((row) => toInfo(row).name === undefined);
    if (rows.length === 0) return undefined;
    const values = rows.map((row) =>
      Object.entries(this.#open(row)).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    );
    return createHmac('sha256', this.#vault.deriveKey('secret-fingerprints'))
      .update(JSON.stringify(values))
      .digest('hex');
  }

  /** Removes ephemeral secrets whose day is over; called on a timer with the time in Unix milliseconds. */
  sweep(nowMs: number): void {
    this.#secrets.deleteExpired(nowMs);
  }

  #values(source: SecretSource): Variables {
    switch (source.kind) {
      case 'inline':
        checkEnvironmentVariables(source.env, 'The environment');
        return source.env;
      case 'stored': {
        const row = this.#row(source.id);
        this.#secrets.used(row.id, this.#now());
        return this.#open(row);
      }
      default:
        return source satisfies never;
    }
  }

  #row(id: SecretId): SecretRow {
    const row = this.#secrets.byId(id);
    if (!row || (row.expiresAtMs !== undefined && row.expiresAtMs <= this.#now())) {
      throw new SkerryError('not-found', `Secret '${clip(id)}' not found.`);
    }
    return row;
  }

  #insert(
    environmentId: EnvironmentId,
    name: string | undefined,
    env: Variables,
    expiresAtMs: number | undefined,
  ): SecretInfo {
    const id = newSecretId();
    const secret = {
      id,
      environmentId,
      name,
      keys: Object.keys(env),
      ciphertext: this.#seal(id, env),
      expiresAtMs,
    };
    return toInfo(this.#secrets.insert(secret, this.#now()));
  }

  #replace(id: SecretId, env: Variables): SecretInfo {
    return toInfo(this.#secrets.setValues(id, Object.keys(env), this.#seal(id, env)));
  }

  #seal(id: SecretId, env: Variables): Uint8Array {
    return sealJson(this.#vault, Object.entries(env), id);
  }

  #open(row: SecretRow): Variables {
    return Object.fromEntries(variablesSchema.parse(openJson(this.#vault, row.ciphertext, row.id)));
  }
}

/** Without what only this file may see. */
const toInfo = ({ ciphertext, expiresAtMs, ...info }: SecretRow): SecretInfo => info;
