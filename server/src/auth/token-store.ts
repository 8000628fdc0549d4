/**
 * Who may use the API. The first start makes the owner's token (id and secret, what the official clients call their credentials); its secret is kept
 * as a hash and, for `skerry env` to print, in `<dataDir>/token.json`. The owner makes further ones, for other machines, programs and people, each with a
 * scope and, where it is to end by itself, a time; of these only the hash is kept. Keys of REST and of single sandboxes are derived from a token, open what
 * it opens, and end with it, so there is nothing more to keep.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId } from '../ids.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import type { AesVault } from '../secrets/vault.ts';
import { CreateRate } from './create-rate.ts';
import { type OpenAnswer, OpenAnswers } from './open-answers.ts';
import { type Quotas, quotasSchema } from './quotas.ts';
import { type Identity, scopes } from './scopes.ts';
import { openSigningKey, type SigningKeySettings } from './signing-key.ts';
import { type TokenFile, tokenFilePath, tokenFileSchema } from './token-file.ts';

const storedTokenSchema = z.object({ tokenId: z.string(), secretSha256: z.string() });
const furtherTokensSchema = z.array(
  storedTokenSchema.extend({
    label: z.string(),
    createdAtMs: z.number(),
    /** Those of earlier versions could do this much. */
    scope: z.enum(scopes).default('sandboxes'),
    expiresAtMs: z.number().optional(),
    quotas: quotasSchema.default({}),
    /** How often it was given another secret. Keys that are derived from it are of one generation. */
    generation: z.number().default(0),
    /** The secret before, which opens what the token opens until then. */
    former: z.object({ secretSha256: z.string(), untilMs: z.number() }).optional(),
  }),
);
type FurtherToken = z.infer<typeof furtherTokensSchema>[number];

/** A token that the owner made, as it is shown: its secret is not known any more. */
export type IssuedToken = Omit<FurtherToken, 'secretSha256' | 'generation' | 'former'> & {
  /** Until then the secret before is good as well. */
  readonly formerUntilMs?: number;
};

/** What one is to be. */
type TokenWish = Pick<IssuedToken, 'label' | 'scope' | 'expiresAtMs'> & Partial<Pick<IssuedToken, 'quotas'>>;

/** More than anybody has machines. */
const MAX_FURTHER_TOKENS = 1000;
/** For so long an expired token is listed, so that whoever wonders finds it. */
const EXPIRED_LISTED_MS = 7 * 86_400_000;

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

export interface TokenStoreOptions {
  readonly settings: TokenSettings;
  readonly dataDir: string;
  readonly vault: Pick<AesVault, 'seal' | 'open' | 'deriveKey'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Sandboxes that each token but the owner's may make in a minute; as many as they like by default. */
  readonly createsPerMinute?: number;
}

type StoredToken = z.infer<typeof storedTokenSchema>;

/** A token that opens something, until it expires. */
interface Admitted extends Pick<FurtherToken, 'scope' | 'expiresAtMs' | 'quotas' | 'generation' | 'former'> {
  readonly secretSha256: Buffer;
}

const NO_QUOTAS: Quotas = {};

export class TokenStore {
  /** The owner's. */
  readonly tokenId: string;
  /** What everything this server signs hangs on: `signing-key.ts`. */
  readonly signingKey: Uint8Array;
  readonly #settings: TokenSettings;
  readonly #now: () => number;
  #further: readonly FurtherToken[] = [];
  /** As it is kept. */
  #furtherText = '[]';
  /** By token id, the owner's among them. */
  readonly #admitted = new Map<string, Admitted>();
  /** Token ids and generations by the SHA-256 of their REST keys, hexadecimal: looking a hash up tells nothing about the key by its time. */
  readonly #byApiKeyHash = new Map<string, { readonly tokenId: string; readonly generation: number }>();
  readonly #open = new OpenAnswers();
  readonly #createRate: CreateRate;
  readonly #createsPerMinute: number;

  private constructor(
    owner: StoredToken,
    { settings, now, createsPerMinute = 0 }: Pick<TokenStoreOptions, 'settings' | 'now' | 'createsPerMinute'>,
    signingKey: Uint8Array,
  ) {
    this.tokenId = owner.tokenId;
    this.signingKey = signingKey;
    this.#settings = settings;
    this.#now = now;
    this.#createRate = new CreateRate(now, 'this token');
    this.#createsPerMinute = createsPerMinute;
    this.#read();
    const ofOwner = { ...owner, scope: 'admin' as const, quotas: NO_QUOTAS, generation: 0 };
    for (const token of [ofOwner, ...this.#further]) this.#admit(token);
  }

  /**
   * Reads the token, or makes one: at the first start, and when `token.json` was removed, which is how an operator gets a new one (the old one then
   * stops working).
   */
  static async open(options: TokenStoreOptions): Promise<TokenStore> {
    const { settings, vault } = options;
    const signingKey = openSigningKey(settings, vault);
    const path = tokenFilePath(options.dataDir);
    const stored = settings.get(TOKEN_SETTING);
    const file = stored === undefined ? undefined : await readTokenFile(path);
    if (stored !== undefined && file) {
      const owner = storedTokenSchema.parse(JSON.parse(stored));
      const store = new TokenStore(owner, options, signingKey);
      const apiKey = store.apiKeyForToken();
      // With another key in the vault it is another one.
      if (file.tokenId === owner.tokenId && file.apiKey !== apiKey)
        await writeTokenFile(path, { ...file, apiKey });
      return store;
    }
    const { tokenId, tokenSecret } = randomToken();
    const owner = { tokenId, secretSha256: sha256(tokenSecret).toString('hex') };
    const store = new TokenStore(owner, options, signingKey);
    await writeTokenFile(path, { tokenId, tokenSecret, apiKey: store.apiKeyForToken() }, () =>
      settings.set(TOKEN_SETTING, JSON.stringify(owner)),
    );
    return store;
  }

  /**
   * Whose token a pair is.
   * @throws SkerryError `unauthenticated` when the pair is missing, wrong or expired, saying which
   */
  verify(tokenId: string | undefined, tokenSecret: string | undefined): Identity {
    if (!tokenId || !tokenSecret) {
      throw new SkerryError(
        'unauthenticated',
        'Token missing. Set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET: `eval "$(skerry env)"` does it on the server\'s machine.',
      );
    }
    // The id is no secret: only the secret's comparison must not tell by its time. An unknown id is compared too, with what nothing hashes to.
    const token = this.#admitted.get(tokenId);
    const given = sha256(tokenSecret);
    const former = token && this.#goodFormer(token);
    const isFormer = former !== undefined && timingSafeEqual(given, Buffer.from(former.secretSha256, 'hex'));
    if (!timingSafeEqual(given, token?.secretSha256 ?? NO_HASH) && !isFormer) {
      throw new SkerryError(
        'unauthenticated',
        'Token ID or secret is wrong for this Skerry server. `eval "$(skerry env)"` sets the right ones on its machine.',
      );
    }
    return this.identityOf(tokenId);
  }

  /** What a token may do now, for those who hold what was made with it. @throws SkerryError `unauthenticated` when it was revoked or has expired */
  identityOf(tokenId: string): Identity {
    const token = this.#admitted.get(tokenId);
    if (token && !this.#isExpired(token)) return { tokenId, scope: token.scope };
    throw new SkerryError(
      'unauthenticated',
      `The token ${token ? 'has expired' : 'was revoked'}. Get another one from who made it: skerry token create.`,
    );
  }

  /** Ends an answer when its token is revoked, and soon after it has expired. @param end how; by default it is broken off */
  endWith(tokenId: string, answer: OpenAnswer, end?: () => void): void {
    // The owner's ends with the server alone.
    if (tokenId !== this.tokenId) this.#open.add(tokenId, answer, end);
  }

  /** Counts sandboxes that a token is about to make; the owner's are not. @throws SkerryError as `CreateRate.take` */
  countCreates(tokenId: string, count = 1): void {
    if (tokenId === this.tokenId) return;
    const perMinute = this.quotasOf(tokenId).createsPerMinute ?? this.#createsPerMinute;
    this.#createRate.take(tokenId, perMinute, count);
  }

  /** What bounds the sandboxes that were made with a token; nothing bounds the owner's, and those of tokens that are gone. */
  quotasOf(tokenId: string): Quotas {
    return this.#admitted.get(tokenId)?.quotas ?? NO_QUOTAS;
  }

  /**
   * Makes a further token. The secret is in the answer and nowhere else.
   * @throws SkerryError `resource-exhausted` when there are too many; `invalid-argument` for an end that has passed, and for quotas of who can make tokens without
   */
  issue({ quotas = NO_QUOTAS, ...wish }: TokenWish): {
    readonly tokenId: string;
    readonly tokenSecret: string;
  } {
    if (this.#further.length >= MAX_FURTHER_TOKENS) {
      throw new SkerryError('resource-exhausted', `There are ${MAX_FURTHER_TOKENS} tokens; revoke some.`);
    }
    if (wish.scope === 'admin' && Object.keys(quotas).length > 0) {
      throw new SkerryError(
        'invalid-argument',
        "Quotas would not hold a token with the scope 'admin', which can make others: give it another scope.",
      );
    }
    const { tokenId, tokenSecret } = randomToken();
    const secretSha256 = sha256(tokenSecret).toString('hex');
    const createdAtMs = this.#now();
    const token: FurtherToken = { tokenId, secretSha256, createdAtMs, quotas, generation: 0, ...wish };
    if (this.#isExpired(token)) throw new SkerryError('invalid-argument', 'It would have expired already.');
    this.#keep([...this.#further, token]);
    this.#admit(token);
    return { tokenId, tokenSecret };
  }

  /** The further tokens, oldest first. */
  issued(): readonly IssuedToken[] {
    return this.#further.map((token) => {
      const { secretSha256: _, generation: __, former: ___, ...shown } = token;
      const former = this.#goodFormer(token);
      return { ...shown, ...(former && { formerUntilMs: former.untilMs }) };
    });
  }

  /**
   * Gives a further token another secret, and other keys with it: its id, quotas and sandboxes stay. The secret is in the answer and nowhere else.
   * @param graceMs how long the secret and the keys before are good as well; with 0 what is under way by them ends
   * @throws SkerryError `not-found`
   */
  rotate(tokenId: string, graceMs: number): { readonly tokenId: string; readonly tokenSecret: string } {
    const token = this.#further.find((each) => each.tokenId === tokenId);
    if (!token) throw new SkerryError('not-found', `There is no token ${tokenId} that could be rotated.`);
    const { tokenSecret } = randomToken();
    const { former: _, secretSha256, ...rest } = token;
    const rotated: FurtherToken = {
      ...rest,
      secretSha256: sha256(tokenSecret).toString('hex'),
      generation: token.generation + 1,
      ...(graceMs > 0 && { former: { secretSha256, untilMs: this.#now() + graceMs } }),
    };
    this.#keep(this.#further.map((each) => (each === token ? rotated : each)));
    this.#forgetKeys(token);
    this.#admit(rotated);
    if (graceMs === 0) this.#open.end(tokenId);
    return { tokenId, tokenSecret };
  }

  /** Makes a further token useless at once, and what was made with it; ends answers under way. @throws SkerryError `not-found` */
  revoke(tokenId: string): void {
    const token = this.#further.find((each) => each.tokenId === tokenId);
    if (!token) throw new SkerryError('not-found', `There is no token ${tokenId} that could be revoked.`);
    this.#keep(this.#further.filter((each) => each !== token));
    this.#admitted.delete(tokenId);
    this.#forgetKeys(token);
    this.#open.end(tokenId);
  }

  /**
   * What another server changed, of several that have the same: tokens that it made or revoked, secrets and quotas. Answers under way end as they do there, also of tokens that have expired,
   * which that one sweeps.
   */
  reload(): void {
    for (const token of this.#further) if (this.#isExpired(token)) this.#open.end(token.tokenId);
    const before = this.#further;
    if (!this.#read()) return;
    const good = new Map(this.#further.map((token) => [token.tokenId, token]));
    for (const token of before) {
      this.#admitted.delete(token.tokenId);
      this.#forgetKeys(token);
      const now = good.get(token.tokenId);
      const isRotated = now && now.generation !== token.generation && !this.#goodFormer(now);
      if (!now || isRotated) this.#open.end(token.tokenId);
    }
    for (const token of this.#further) this.#admit(token);
  }

  /** Ends answers under way whose tokens have expired, and forgets what expired long ago. */
  sweep(): void {
    const expired = this.#further.filter((token) => this.#isExpired(token));
    for (const { tokenId } of expired) this.#open.end(tokenId);
    const forgotten = expired.filter(({ expiresAtMs = 0 }) => expiresAtMs + EXPIRED_LISTED_MS <= this.#now());
    for (const { tokenId } of forgotten) this.revoke(tokenId);
  }

  /** Whether they are others than before. */
  #read(): boolean {
    const text = this.#settings.get(FURTHER_TOKENS_SETTING) ?? '[]';
    if (text === this.#furtherText) return false;
    this.#further = furtherTokensSchema.parse(JSON.parse(text));
    this.#furtherText = text;
    return true;
  }

  #isExpired({ expiresAtMs }: Pick<FurtherToken, 'expiresAtMs'>): boolean {
    return expiresAtMs !== undefined && expiresAtMs <= this.#now();
  }

  /** The secret before, as long as it is good. */
  #goodFormer({ former }: Pick<FurtherToken, 'former'>): FurtherToken['former'] {
    return former && former.untilMs > this.#now() ? former : undefined;
  }

  #admit({ tokenId, secretSha256, ...rest }: StoredToken & Omit<Admitted, 'secretSha256'>): void {
    this.#admitted.set(tokenId, { ...rest, secretSha256: Buffer.from(secretSha256, 'hex') });
    const { generation, former } = rest;
    for (const each of former ? [generation - 1, generation] : [generation])
      this.#byApiKeyHash.set(this.#apiKeyHash(tokenId, each), { tokenId, generation: each });
  }

  #forgetKeys({ tokenId, generation }: Pick<FurtherToken, 'tokenId' | 'generation'>): void {
    for (const each of [generation - 1, generation])
      this.#byApiKeyHash.delete(this.#apiKeyHash(tokenId, each));
  }

  /** Whether what was derived from that generation of a token's secrets opens anything. */
  #isGood(tokenId: string, generation: number): boolean {
    const token = this.#admitted.get(tokenId);
    // One that is gone is told of by `identityOf`.
    if (!token || token.generation === generation) return true;
    return token.generation - 1 === generation && this.#goodFormer(token) !== undefined;
  }

  #generationOf(tokenId: string): number {
    return this.#admitted.get(tokenId)?.generation ?? 0;
  }

  #keep(tokens: readonly FurtherToken[]): void {
    const text = JSON.stringify(tokens);
    this.#settings.set(FURTHER_TOKENS_SETTING, text);
    this.#further = tokens;
    this.#furtherText = text;
  }

  /** The REST API's bearer key (`SANDBOX_API_KEY`), one per token; the owner's when none is named. */
  apiKeyForToken(tokenId: string = this.tokenId): string {
    return this.#apiKey(tokenId, this.#generationOf(tokenId));
  }

  #apiKey(tokenId: string, generation: number): string {
    return `sk-${this.#derive(`api-key:${tokenId}`, generation)}`;
  }

  #apiKeyHash(tokenId: string, generation: number): string {
    return sha256(this.#apiKey(tokenId, generation)).toString('hex');
  }

  /** Whose REST key that is; undefined for anything else. @throws SkerryError `unauthenticated` when its token has expired */
  identityOfApiKey(key: string): Identity | undefined {
    const found = this.#byApiKeyHash.get(sha256(key).toString('hex'));
    if (!found || !this.#isGood(found.tokenId, found.generation)) return undefined;
    return this.identityOf(found.tokenId);
  }

  /**
   * A bearer key that opens this one sandbox only, to whoever may use the token. It names the sandbox, so that a key for another one can be told from a wrong
   * one, and the token, unless that is the owner's.
   */
  sandboxKey(id: SandboxId, tokenId: string = this.tokenId): string {
    return this.#sandboxKey(id, tokenId, this.#generationOf(tokenId));
  }

  #sandboxKey(id: SandboxId, tokenId: string, generation: number): string {
    const named = id.slice('sb-'.length);
    if (tokenId === this.tokenId) return `sbk-${named}-${this.#derive(`sandbox-key:${id}`)}`;
    const derived = this.#derive(`sandbox-key:${id}:${tokenId}`, generation);
    return `sbk-${named}-${tokenId.slice('ak-'.length)}-${derived}`;
  }

  /** The sandbox that a valid sandbox key opens, and by whose right; undefined for anything else. @throws SkerryError `unauthenticated` with its token */
  sandboxOfKey(key: string): { readonly sandboxId: SandboxId; readonly identity: Identity } | undefined {
    const match = /^sbk-([0-9A-Za-z]{1,64})-(?:([0-9A-Za-z]{22})-)?[0-9a-f]{64}$/.exec(key);
    if (!match) return undefined;
    const sandboxId = `sb-${match[1]}` as SandboxId; // an id only if the key below is the one we made for it
    const tokenId = match[2] === undefined ? this.tokenId : `ak-${match[2]}`;
    const latest = this.#generationOf(tokenId);
    const opens = (generation: number) =>
      this.#isGood(tokenId, generation) && equal(key, this.#sandboxKey(sandboxId, tokenId, generation));
    if (!opens(latest) && !opens(latest - 1)) return undefined;
    return { sandboxId, identity: this.identityOf(tokenId) };
  }

  /** @param generation of a token's secrets; the first is not named, as versions before knew no others */
  #derive(purpose: string, generation = 0): string {
    const whole = generation === 0 ? purpose : `${purpose}:${generation}`;
    return createHmac('sha256', this.signingKey).update(whole, 'utf8').digest('hex');
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
