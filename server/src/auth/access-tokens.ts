/**
 * The JWTs the clients carry: one that stands for the caller's credentials (`AuthTokenGet`) and one per sandbox that opens its command router.
 *
 * Clients parse them (`docs/protocol/control-plane.md`, "AuthTokenGet"): three parts, an integer `exp`, a small payload whose base64url form is also
 * plain base64, which holds for ASCII without `>`, `?` and `~`. An unexpired token is never refused: clients do not refresh it before its time.
 */
import { errors, jwtVerify, SignJWT } from 'jose';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId, TaskId } from '../ids.ts';

/** Lifetime of both kinds, seconds. */
export const ACCESS_TOKEN_LIFETIME_S = 15 * 60;

const ISSUER = 'skerry';
const CALLER_AUDIENCE = 'control-plane';
const ROUTER_AUDIENCE = 'command-router';
/** Verified tokens remembered; a token is verified once, then looked up. */
const CACHE_SIZE = 4096;

export interface RouterGrant {
  readonly sandboxId: SandboxId;
  readonly taskId: TaskId;
  /** The token it was given to, which has to be good still. Undefined in those of earlier versions, which were the owner's or as good. */
  readonly tokenId: string | undefined;
}

export class AccessTokens {
  readonly #key: Uint8Array;
  readonly #now: () => number;
  readonly #verified = new Map<string, { readonly grant: RouterGrant; readonly expiresAtMs: number }>();

  /** @param now milliseconds since the epoch */
  constructor(signingKey: Uint8Array, now: () => number) {
    this.#key = signingKey;
    this.#now = now;
  }

  /** The token of `AuthTokenGet`. This server authenticates calls by the credentials themselves; the clients still insist on having one. */
  forCaller(tokenId: string): Promise<string> {
    return this.#sign(CALLER_AUDIENCE, tokenId, {});
  }

  forRouter(grant: RouterGrant): Promise<string> {
    const { sandboxId, taskId, tokenId } = grant;
    return this.#sign(ROUTER_AUDIENCE, sandboxId, {
      task: taskId,
      ...(tokenId !== undefined && { tokenId }),
    });
  }

  /**
   * What a command router token opens.
   * @throws SkerryError `unauthenticated` for one that is malformed, expired or not ours
   */
  async verifyRouter(token: string): Promise<RouterGrant> {
    const known = this.#verified.get(token);
    if (known && known.expiresAtMs > this.#now()) return known.grant;
    this.#verified.delete(token);
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: ['HS256'],
        issuer: ISSUER,
        audience: ROUTER_AUDIENCE,
        requiredClaims: ['exp', 'sub', 'task'],
        currentDate: new Date(this.#now()),
      });
      // The signature is ours, so the claims are what `forRouter` put there.
      const grant = {
        sandboxId: payload.sub as SandboxId,
        taskId: payload.task as TaskId,
        tokenId: payload.tokenId as string | undefined,
      };
      this.#remember(token, grant, (payload.exp ?? 0) * 1000);
      return grant;
    } catch (error) {
      if (error instanceof errors.JWTExpired) {
        throw new SkerryError('unauthenticated', 'The access token of this sandbox has expired.', {
          cause: error,
        });
      }
      throw new SkerryError('unauthenticated', 'The access token of this sandbox is not valid.', {
        cause: error,
      });
    }
  }

  #sign(audience: string, subject: string, claims: Record<string, string>): Promise<string> {
    const issuedAt = Math.floor(this.#now() / 1000);
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setIssuer(ISSUER)
      .setAudience(audience)
      .setSubject(subject)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ACCESS_TOKEN_LIFETIME_S)
      .sign(this.#key);
  }

  #remember(token: string, grant: RouterGrant, expiresAtMs: number): void {
    if (this.#verified.size >= CACHE_SIZE) {
      const oldest = this.#verified.keys().next();
      if (!oldest.done) this.#verified.delete(oldest.value);
    }
    this.#verified.set(token, { grant, expiresAtMs });
  }
}
