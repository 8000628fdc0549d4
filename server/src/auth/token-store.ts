/**
 * Who may use the API. The first start makes one token (id and secret, what the official clients call their credentials); its secret is kept as a hash
 * and, for `skerry env` to print, in `<dataDir>/token.json`. REST keys are derived, so there is nothing more to keep.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import { SettingsRepository } from '../store/settings.ts';

/** What `token.json` holds. */
export const tokenFileSchema = z.object({
  tokenId: z.string().regex(/^ak-[0-9A-Za-z]{22}$/),
  tokenSecret: z.string().regex(/^as-[0-9a-f]{64}$/),
  /** The bearer key of the REST API for this token. */
  apiKey: z.string(),
});
export type TokenFile = z.infer<typeof tokenFileSchema>;

export const tokenFilePath = (dataDir: string): string => join(dataDir, 'token.json');

const storedTokenSchema = z.object({ tokenId: z.string(), secretSha256: z.string() });

const TOKEN_SETTING = 'auth.token';
const SIGNING_KEY_SETTING = 'auth.signing-key';

/** SHA-256 is enough for secrets of 256 random bits: there is no dictionary to try. */
const sha256 = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
/** Compares in constant time; hashing first makes the lengths equal. */
const equal = (a: string, b: string): boolean => timingSafeEqual(sha256(a), sha256(b));

export class TokenStore {
  readonly tokenId: string;
  /** 32 bytes that everything this server signs hangs on. Persisted: clients hold on to unexpired tokens across a restart. */
  readonly signingKey: Uint8Array;
  readonly #secretSha256: Buffer;

  private constructor(tokenId: string, secretSha256: Buffer, signingKey: Uint8Array) {
    this.tokenId = tokenId;
    this.#secretSha256 = secretSha256;
    this.signingKey = signingKey;
  }

  /**
   * Reads the token, or makes one: at the first start, and when `token.json` was removed, which is how an operator gets a new one (the old one then
   * stops working).
   */
  static async open(options: { readonly database: Database; readonly dataDir: string }): Promise<TokenStore> {
    const settings = new SettingsRepository(options.database);
    let keyHex = settings.get(SIGNING_KEY_SETTING);
    if (keyHex === undefined) {
      keyHex = randomBytes(32).toString('hex');
      settings.set(SIGNING_KEY_SETTING, keyHex);
    }
    const signingKey = new Uint8Array(Buffer.from(keyHex, 'hex'));

    const path = tokenFilePath(options.dataDir);
    const stored = settings.get(TOKEN_SETTING);
    if (stored !== undefined && (await exists(path))) {
      const { tokenId, secretSha256 } = storedTokenSchema.parse(JSON.parse(stored));
      return new TokenStore(tokenId, Buffer.from(secretSha256, 'hex'), signingKey);
    }
    // 22 alphanumeric characters, the form of the ids the official clients are used to.
    const tokenId = `ak-${randomBytes(32).toString('base64').replace(/[+/=]/g, '').slice(0, 22)}`;
    const tokenSecret = `as-${randomBytes(32).toString('hex')}`;
    const hash = sha256(tokenSecret);
    const store = new TokenStore(tokenId, hash, signingKey);
    const file: TokenFile = { tokenId, tokenSecret, apiKey: store.apiKeyForToken() };
    await writeFile(`${path}.new`, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
    settings.set(TOKEN_SETTING, JSON.stringify({ tokenId, secretSha256: hash.toString('hex') }));
    await rename(`${path}.new`, path);
    return store;
  }

  /** @throws SkerryError `unauthenticated` when the pair is missing or wrong, saying which */
  verify(tokenId: string | undefined, tokenSecret: string | undefined): void {
    if (!tokenId || !tokenSecret) {
      throw new SkerryError(
        'unauthenticated',
        'Token missing. Set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET: `eval "$(skerry env)"` does it on the server\'s machine.',
      );
    }
    // Both are compared whatever the first says, so that the time taken does not tell which was wrong.
    const idMatches = equal(tokenId, this.tokenId);
    const secretMatches = timingSafeEqual(sha256(tokenSecret), this.#secretSha256);
    if (!idMatches || !secretMatches) {
      throw new SkerryError(
        'unauthenticated',
        'Token ID or secret is wrong for this Skerry server. `eval "$(skerry env)"` sets the right ones on its machine.',
      );
    }
  }

  /** The REST API's bearer key (`SANDBOX_API_KEY`), one per token. */
  apiKeyForToken(): string {
    return `sk-${this.#derive(`api-key:${this.tokenId}`)}`;
  }

  verifyApiKey(key: string): boolean {
    return equal(key, this.apiKeyForToken());
  }

  /** A bearer key that opens this one sandbox only. It names the sandbox, so that a key for another one can be told from a wrong one. */
  sandboxKey(id: SandboxId): string {
    return `sbk-${id.slice('sb-'.length)}-${this.#derive(`sandbox-key:${id}`)}`;
  }

  verifySandboxKey(id: SandboxId, key: string): boolean {
    return equal(key, this.sandboxKey(id));
  }

  /** The sandbox that a valid sandbox key opens; undefined for anything else. */
  sandboxOfKey(key: string): SandboxId | undefined {
    const match = /^sbk-([0-9A-Za-z]{1,64})-[0-9a-f]{64}$/.exec(key);
    if (!match) return undefined;
    const id = `sb-${match[1]}` as SandboxId; // an id only if the key below is the one we made for it
    return this.verifySandboxKey(id, key) ? id : undefined;
  }

  #derive(purpose: string): string {
    return createHmac('sha256', this.signingKey).update(purpose, 'utf8').digest('hex');
  }
}

/** Whether there is a token file; one that cannot be understood is an error, not a reason to lock its owner out. */
async function exists(path: string): Promise<boolean> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  try {
    tokenFileSchema.parse(JSON.parse(text));
    return true;
  } catch (error) {
    throw new SkerryError('internal', `${path} is damaged. Remove it to get a new token at the next start.`, {
      cause: error,
    });
  }
}
