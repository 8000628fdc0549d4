/** Values that are sealed as JSON. */
import type { Vault } from './secrets.ts';

/** @param context as `Vault.seal` */
export const sealJson = (vault: Vault, value: unknown, context?: string): Uint8Array =>
  vault.seal(Buffer.from(JSON.stringify(value)), context);

/** What `sealJson` was given: the vault knows its own, so it is what the caller has put there. @throws as `Vault.open` */
export const openJson = <Value>(vault: Vault, sealed: Uint8Array, context?: string): Value =>
  JSON.parse(Buffer.from(vault.open(sealed, context)).toString('utf8')) as Value;
