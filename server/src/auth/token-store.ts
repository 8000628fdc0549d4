/**
 * Who may use the API. The first start makes the owner's token (id and secret, what the official clients call their credentials); its secret is kept
 * as a hash and, for `skerry env` to print, in `<dataDir>/token.json`. The owner makes further ones, for other machines and people, and revokes them;
 * of these only the hash is kept. All of them can do the same but that. REST keys are derived, so there is nothing more to keep.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId } from '../ids.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import type { AesVault } from '../secrets/vault.ts';
import { openSigningKey, type SigningKeySettings } from './signing-key.ts';

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
const furtherTokensSchema = z.array(storedTokenSchema.extend({ label: z.string(), createdAtMs: z.number() }));
type FurtherToken = z.infer<typeof furtherTokensSchema>[number];

/** A token that the owner made, as it is shown: its secret is not known any more. */
export type IssuedToken = Pick<FurtherToken, 'tokenId' | 'label' | 'createdAtMs'>;

/** More than anybody has machines. */
const MAX_FURTHER_TOKENS = 1000;

/** Where tokens are kept. */
export type TokenSettings = KeptValues<typeof TOKEN_SETTING | typeof FURTHER_TOKENS_SETTING> &
  SigningKeySettings;

const TOKEN_SETTING = 'auth.token';
const FURTHER_TOKENS_SETTING = 'auth.further-tokens';

/** SHA-256 is enough for secrets of 256 random bits: there is no dictionary to try. */
const sha256 = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
const NO_HASH = Buffer.alloc(32);
/** Compares in constant time; hashing first makes the lengths equal. */
const equal = (a: string, b: string): boolean => timingSafeEqual(sha256(a), sha256(b));

export class TokenStore {
  /** The owner's. */
  readonly tokenId: string;
  /** What everything this server signs hangs on: `signing-key.ts`. */
  readonly signingKey: Uint8Array;
  readonly #settings: TokenSettings;
  #further: readonly FurtherToken[];
  /** SHA-256 of the secret by token id, the owner's among them. */
  readonly #secretHashes = new Map<string, Buffer>();
  /** SHA-256 of every token's REST key, hexadecimal: looking a hash up tells nothing about the key by its time. */
  readonly #apiKeyHashes = new Set<string>();

  private constructor(
    tokenId: string,
    secretSha256: Buffer,
    signingKey: Uint8Array,
    settings: TokenSettings,
  ) {
    this.tokenId = tokenId;
    this.signingKey = signingKey;
    this.#settings = settings;
    this.#further = furtherTokensSchema.parse(JSON.parse(settings.get(FURTHER_TOKENS_SETTING) ?? '[]'));
    this.#admit(tokenId, secretSha256);
    for (const token of this.#further) this.#admit(token.tokenId, Buffer.from(token.secretSha256, 'hex'));
  }

  /**
   * Reads the token, or makes one: at the first start, and when `token.json` was removed, which is how an operator gets a new one (the old one then
   * stops working).
   */
  static async open(options: {
    readonly settings: TokenSettings;
    readonly dataDir: string;
    readonly vault: Pick<AesVault, 'seal' | 'open' | 'deriveKey'>;
  }): Promise<TokenStore> {
    const { settings, vault } = options;
    const signingKey = openSigningKey(settings, vault);
    const path = tokenFilePath(options.dataDir);
    const stored = settings.get(TOKEN_SETTING);
    const file = stored === undefined ? undefined : await readTokenFile(path);
    if (stored !== undefined && file) {
      const { tokenId, secretSha256 } = storedTokenSchema.parse(JSON.parse(stored));
      const store = new TokenStore(tokenId, Buffer.from(secretSha256, 'hex'), signingKey, settings);
      const apiKey = store.apiKeyForToken();
      // With another key in the vault it is another one.
      if (file.tokenId === tokenId && file.apiKey !== apiKey) await writeTokenFile(path, { ...file, apiKey });
      return store;
    }
    const { tokenId, tokenSecret } = randomToken();
    const hash = sha256(tokenSecret);
    const store = new TokenStore(tokenId, hash, signingKey, settings);
    await writeTokenFile(path, { tokenId, tokenSecret, apiKey: store.apiKeyForToken() }, () =>
      settings.set(TOKEN_SETTING, JSON.stringify({ tokenId, secretSha256: hash.toString('hex') })),
    );
    return store;
  }

  /**
   * The id of the token that a pair is.
   * @throws SkerryError `unauthenticated` when the pair is missing or wrong, saying which
   */
  verify(tokenId: string | undefined, tokenSecret: string | undefined): string {
    if (!tokenId || !tokenSecret) {
      throw new SkerryError(
        'unauthenticated',
        'Token missing. Set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET: `eval "$(skerry env)"` does it on the server\'s machine.',
      );
    }
    // The id is no secret: only the secret's comparison must not tell by its time. An unknown id is compared too, with what nothing hashes to.
    const expected = this.#secretHashes.get(tokenId) ?? NO_HASH;
    if (!timingSafeEqual(sha256(tokenSecret), expected)) {
      throw new SkerryError(
        'unauthenticated',
        'Token ID or secret is wrong for this Skerry server. `eval "$(skerry env)"` sets the right ones on its machine.',
      );
    }
    return tokenId;
  }

  /**
   * Makes a further token. The secret is in the answer and nowhere else.
   * @throws SkerryError `resource-exhausted` when there are too many
   */
  issue(label: string, nowMs: number): { readonly tokenId: string; readonly tokenSecret: string } {
    if (this.#further.length >= MAX_FURTHER_TOKENS) {
      throw new SkerryError('resource-exhausted', `There are ${MAX_FURTHER_TOKENS} tokens; revoke some.`);
    }
    const { tokenId, tokenSecret } = randomToken();
    const hash = sha256(tokenSecret);
    const token = { tokenId, secretSha256: hash.toString('hex'), label, createdAtMs: nowMs };
    this.#keep([...this.#further, token]);
    this.#admit(tokenId, hash);
    return { tokenId, tokenSecret };
  }

  /** The further tokens, oldest first. */
  issued(): readonly IssuedToken[] {
    return this.#further.map(({ tokenId, label, createdAtMs }) => ({ tokenId, label, createdAtMs }));
  }

  /** Makes a further token useless at once. @throws SkerryError `not-found` */
  revoke(tokenId: string): void {
    if (!this.#further.some((token) => token.tokenId === tokenId)) {
      throw new SkerryError('not-found', `There is no token ${tokenId} that could be revoked.`);
    }
    this.#keep(this.#further.filter((token) => token.tokenId !== tokenId));
    this.#secretHashes.delete(tokenId);
    this.#apiKeyHashes.delete(sha256(this.apiKeyForToken(tokenId)).toString('hex'));
  }

  #admit(tokenId: string, secretSha256: Buffer): void {
    this.#secretHashes.set(tokenId, secretSha256);
    this.#apiKeyHashes.add(sha256(this.apiKeyForToken(tokenId)).toString('hex'));
  }

  #keep(tokens: readonly FurtherToken[]): void {
    this.#settings.set(FURTHER_TOKENS_SETTING, JSON.stringify(tokens));
    this.#further = tokens;
  }

  /** The REST API's bearer key (`SANDBOX_API_KEY`), one per token; the owner's when none is named. */
  apiKeyForToken(tokenId: string = this.tokenId): string {
    return `sk-${this.#derive(`api-key:${tokenId}`)}`;
  }

  verifyApiKey(key: string): boolean {
    return this.#apiKeyHashes.has(sha256(key).toString('hex'));
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

/** The id has 22 alphanumeric characters, the form that the official clients are used to. */
function randomToken(): { readonly tokenId: string; readonly tokenSecret: string } {
  const characters = randomBytes(48).toString('base64').replace(/[+/=]/g, '').slice(0, 22);
  return { tokenId: `ak-${characters}`, tokenSecret: `as-${randomBytes(32).toString('hex')}` };
}

/** The token file, undefined when there is none; one that cannot be understood is an error, not a reason to lock its owner out. */
async function readTokenFile(path: string): Promise<TokenFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return tokenFileSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new SkerryError('internal', `${path} is damaged. Remove it to get a new token at the next start.`, {
      cause: error,
    });
  }
}

/** The file is there whole or not at all. `beforeItIsThere` is called once it is safe on disk. */
async function writeTokenFile(path: string, file: TokenFile, beforeItIsThere = () => {}): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
  beforeItIsThere();
  await rename(`${path}.new`, path);
}
