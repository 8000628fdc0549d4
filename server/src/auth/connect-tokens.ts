/**
 * The tokens that open one port of one sandbox to HTTP requests (`create_connect_token` of the clients). They are signed and not kept: the same server opens
 * them after a restart, and what they open is gone with the sandbox.
 *
 * https://modal.com/docs/guide/sandbox-networking#connecting-to-sandboxes-with-http-and-websockets
 */
import { errors, jwtVerify, SignJWT } from 'jose';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId } from '../ids.ts';

/** A day, like the URLs that are signed. */
export const CONNECT_TOKEN_LIFETIME_S = 24 * 60 * 60;
/** The clients' documentation: "less than 512 characters after serialization". */
export const MAX_USER_METADATA_CHARACTERS = 511;

/** Tells our tokens from the other bearer tokens that a request may carry for the program in the sandbox. Nothing in one needs escaping in a URL or a cookie. */
const PREFIX = 'sct_';
const SHAPE = /^sct_[\w-]+\.[\w-]+\.[\w-]+$/;
const ISSUER = 'skerry';
const AUDIENCE = 'sandbox-port';
/** Verified tokens remembered; a token is verified once, then looked up. */
const CACHE_SIZE = 4096;

/** What a token opens, and what it says about who uses it. */
export interface ConnectGrant {
  readonly sandboxId: SandboxId;
  /** A TCP port in the sandbox. */
  readonly port: number;
  /** What the caller who made the token wants the program in the sandbox to know; `checkUserMetadata` holds for it. */
  readonly userMetadata: string | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** True for text that is to be taken for a connect token, valid or not. */
export const isConnectToken = (text: string): boolean => SHAPE.test(text);

/**
 * It goes into a header, in UTF-8: one line without control characters.
 * @throws SkerryError `invalid-argument`
 */
export function checkUserMetadata(text: string): void {
  const fail = (why: string) => {
    throw new SkerryError('invalid-argument', `user_metadata ${why}.`);
  };
  if ([...text].length > MAX_USER_METADATA_CHARACTERS) {
    fail(`must have at most ${MAX_USER_METADATA_CHARACTERS} characters once it is JSON`);
  }
  if (/\p{Cc}/u.test(text))
    fail('goes into a header: it must have neither line breaks nor control characters');
  if (!text.isWellFormed()) fail('is not valid Unicode');
}

export class ConnectTokens {
  readonly #key: Uint8Array;
  readonly #now: () => number;
  readonly #verified = new Map<string, ConnectGrant>();

  /** @param now milliseconds since the epoch */
  constructor(signingKey: Uint8Array, now: () => number) {
    this.#key = signingKey;
    this.#now = now;
  }

  /** A token that is good for a day. */
  async issue(grant: Omit<ConnectGrant, 'expiresAtMs'>): Promise<string> {
    const issuedAt = Math.floor(this.#now() / 1000);
    const { sandboxId, port, userMetadata } = grant;
    const jwt = await new SignJWT({ port, ...(userMetadata !== undefined && { user: userMetadata }) })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject(sandboxId)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + CONNECT_TOKEN_LIFETIME_S)
      .sign(this.#key);
    return PREFIX + jwt;
  }

  /** @throws SkerryError `unauthenticated` for one that is malformed, expired or not ours */
  async verify(token: string): Promise<ConnectGrant> {
    const known = this.#verified.get(token);
    if (known && known.expiresAtMs > this.#now()) return known;
    this.#verified.delete(token);
    if (!isConnectToken(token)) throw notValid();
    try {
      const { payload } = await jwtVerify(token.slice(PREFIX.length), this.#key, {
        algorithms: ['HS256'],
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ['exp', 'sub', 'port'],
        currentDate: new Date(this.#now()),
      });
      // The signature is ours, so the claims are what `issue` put there.
      const grant: ConnectGrant = {
        sandboxId: payload.sub as SandboxId,
        port: payload.port as number,
        userMetadata: payload.user as string | undefined,
        expiresAtMs: (payload.exp ?? 0) * 1000,
      };
      this.#remember(token, grant);
      return grant;
    } catch (error) {
      if (!(error instanceof errors.JWTExpired)) throw notValid(error);
      throw new SkerryError('unauthenticated', 'The connect token has expired.', { cause: error });
    }
  }

  #remember(token: string, grant: ConnectGrant): void {
    if (this.#verified.size >= CACHE_SIZE) {
      const oldest = this.#verified.keys().next();
      if (!oldest.done) this.#verified.delete(oldest.value);
    }
    this.#verified.set(token, grant);
  }
}

const notValid = (cause?: unknown): SkerryError =>
  new SkerryError('unauthenticated', 'The connect token is not valid.', { cause });
