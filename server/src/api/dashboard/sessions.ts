/**
 * Who is signed in to the dashboard. A browser gets two halves for a token: a cookie, in which the token is sealed, and a key, which the page keeps in storage
 * of its own origin and sends in a header. Either alone opens nothing: browsers send cookies of a host to all of its ports, tunnels into sandboxes among
 * them, and a page of another origin can set no such header. Nothing is kept here, so sessions outlive the server, and end with their token.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { Identity } from '../../auth/scopes.ts';
import type { TokenStore } from '../../auth/token-store.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Vault } from '../../secrets/secrets.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { isEncrypted } from '../../transport/tunnel.ts';

export const SESSION_MS = 7 * 86_400_000;
/** For how long a browser may take to begin a download that the page asked for. */
const TICKET_MS = 60_000;
/** The header of the page's half. */
const KEY_HEADER = 'x-skerry-session';

const sealedSession = z.strictObject({
  token: z.string(),
  /** SHA-256 of the page's half, base64url. */
  keyHash: z.string(),
  expiresAtMs: z.number(),
});
type Session = z.infer<typeof sealedSession>;

const sealedTicket = z.strictObject({
  path: z.string(),
  name: z.string(),
  keyHash: z.string(),
  expiresAtMs: z.number(),
});

export interface SessionsOptions {
  readonly tokens: Pick<TokenStore, 'verify'>;
  readonly vault: Pick<Vault, 'seal' | 'open'>;
  /** 8 hexadecimal digits: servers on one host have cookies of their own. */
  readonly instance: string;
  readonly now: () => number;
}

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #cookie: string;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#cookie = `skerry-${options.instance}`;
  }

  /**
   * A session for a token, `<id>:<secret>`: the value of `Set-Cookie`, the page's half, and whose it is.
   * @throws SkerryError `unauthenticated` for a token that is none
   */
  begin(
    request: AnyRequest,
    token: string,
  ): { readonly setCookie: string; readonly key: string; readonly identity: Identity } {
    requireOwnPage(request);
    const identity = this.#verify(token);
    const key = randomBytes(32).toString('base64url');
    const expiresAtMs = this.#options.now() + SESSION_MS;
    const sealed = this.#seal({ token, keyHash: hashOf(key), expiresAtMs } satisfies Session, 'session');
    return { setCookie: this.#setCookie(request, sealed, SESSION_MS / 1000), key, identity };
  }

  /** The value of `Set-Cookie` that ends it in this browser. */
  end(request: AnyRequest): string {
    requireOwnPage(request);
    return this.#setCookie(request, '', 0);
  }

  /**
   * The token that a request of the page stands for.
   * @throws SkerryError `unauthenticated` unless both halves are there and the token is still one; `permission-denied` for another page's
   */
  tokenOf(request: AnyRequest): string {
    requireOwnPage(request);
    return this.#tokenFor(request, keyHashOf(request));
  }

  /** What a browser can be sent to for one download, for a minute: a request that has the cookie but cannot have the header. */
  ticket(request: AnyRequest, path: string, name: string): string {
    this.tokenOf(request);
    const keyHash = keyHashOf(request);
    return this.#seal({ path, name, keyHash, expiresAtMs: this.#options.now() + TICKET_MS }, 'ticket');
  }

  /** @throws SkerryError `unauthenticated` */
  redeem(
    request: AnyRequest,
    ticket: string,
  ): { readonly path: string; readonly name: string; readonly token: string } {
    requireOwnPage(request);
    const { path, name, keyHash } = this.#open(ticket, sealedTicket, 'ticket');
    return { path, name, token: this.#tokenFor(request, keyHash) };
  }

  #tokenFor(request: AnyRequest, keyHash: string): string {
    const session = this.#open(this.#cookieOf(request), sealedSession, 'session');
    if (!timingSafeEqual(Buffer.from(session.keyHash), Buffer.from(keyHash))) throw signedOut();
    this.#verify(session.token);
    return session.token;
  }

  #verify(token: string): Identity {
    const [id, secret] = token.split(':', 2);
    return this.#options.tokens.verify(id, secret);
  }

  #cookieOf(request: AnyRequest): string {
    for (const pair of (request.headers.cookie ?? '').split(';')) {
      const [name, value = ''] = pair.trim().split('=', 2);
      if (name === this.#cookie) return value;
    }
    return '';
  }

  #setCookie(request: AnyRequest, value: string, seconds: number): string {
    const secure = isEncrypted(request) ? '; Secure' : '';
    return `${this.#cookie}=${value}; Path=/dashboard/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
  }

  #seal(value: object, purpose: string): string {
    const sealed = this.#options.vault.seal(Buffer.from(JSON.stringify(value)), `dashboard:${purpose}`);
    return Buffer.from(sealed).toString('base64url');
  }

  #open<T extends { readonly expiresAtMs: number }>(text: string, schema: z.ZodType<T>, purpose: string): T {
    let value: T;
    try {
      const opened = this.#options.vault.open(Buffer.from(text, 'base64url'), `dashboard:${purpose}`);
      value = schema.parse(JSON.parse(Buffer.from(opened).toString('utf8')));
    } catch {
      throw signedOut();
    }
    if (value.expiresAtMs <= this.#options.now()) throw signedOut();
    return value;
  }
}

const hashOf = (key: string): string => createHash('sha256').update(key, 'utf8').digest('base64url');

const keyHashOf = ({ headers }: AnyRequest): string => hashOf(String(headers[KEY_HEADER] ?? ''));

const signedOut = () => new SkerryError('unauthenticated', 'You are signed out: sign in with a token.');

/** Browsers say whose request it is (https://www.w3.org/TR/fetch-metadata/); who says nothing is none, and has no cookie that others could use. */
function requireOwnPage(request: AnyRequest): void {
  const site = request.headers['sec-fetch-site'];
  if (site === undefined || site === 'same-origin') return;
  throw new SkerryError('permission-denied', 'This is for the dashboard alone.');
}
