/**
 * The key that everything this server signs hangs on: the JWTs of calls, the REST keys of tokens and of single sandboxes. It comes from the vault, whose
 * key is not in the database: a copy of the database alone opens nothing.
 */
import type { KeptValues } from '../platform/kept-values.ts';
import type { AesVault } from '../secrets/vault.ts';

const PURPOSE = 'auth-signing';
/** Where earlier versions kept a random one, in clear; and what it is sealed as since. */
const CLEAR_SETTING = 'auth.signing-key';
const SEALED_SETTING = 'auth.sealed-signing-key';

export interface SigningKeySettings extends KeptValues<typeof CLEAR_SETTING | typeof SEALED_SETTING> {
  delete(key: typeof CLEAR_SETTING): void;
  /** Leaves nothing of what was replaced or deleted in the files either. */
  scrub(): void;
}

/**
 * 32 bytes, the same after a restart: clients hold on to unexpired tokens. A database that had a key of its own keeps it, sealed from now on, so that
 * what was signed with it stays valid.
 * @throws SkerryError `internal` when the vault's key is another than the one it was sealed with
 */
export function openSigningKey(
  settings: SigningKeySettings,
  vault: Pick<AesVault, 'seal' | 'open' | 'deriveKey'>,
): Uint8Array {
  const clear = settings.get(CLEAR_SETTING);
  if (clear !== undefined) {
    if (clear !== '') {
      const sealed = vault.seal(Buffer.from(clear, 'hex'), SEALED_SETTING);
      settings.set(SEALED_SETTING, Buffer.from(sealed).toString('base64'));
      settings.set(CLEAR_SETTING, ''); // there until the file has no trace of it either
    }
    settings.scrub();
    settings.delete(CLEAR_SETTING);
  }
  const sealed = settings.get(SEALED_SETTING);
  if (sealed === undefined) return vault.deriveKey(PURPOSE);
  return new Uint8Array(vault.open(Buffer.from(sealed, 'base64'), SEALED_SETTING));
}
