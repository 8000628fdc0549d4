/**
 * What the `skerry` command and `skerry connect` ask a server about tokens, as JSON over HTTP below `/skerry/v1`. The bearer of each request is a token,
 * `<id>:<secret>`.
 *
 *   GET    token          which server this is, how other machines reach it, and the REST key of the bearer's token
 *   GET    tokens         the tokens that the owner made
 *   POST   tokens         {label}: makes one
 *   DELETE tokens/<id>    revokes one
 *
 * All but the first are the owner's.
 */
import { z } from 'zod';
import type { TokenStore } from '../../auth/token-store.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { bearerOf, OPERATOR_PREFIX, operatorRoute, readBody } from './requests.ts';

export interface TokenRouteDeps {
  readonly tokens: TokenStore;
  /** As `/healthz` tells them. */
  readonly version: string;
  readonly instance: string;
  /** How other machines reach the server, if they can, and the fingerprint of its key. */
  readonly endpoint: () => { readonly url: string | undefined; readonly fingerprint: string };
  readonly logger: Logger;
  readonly now: () => number;
}

const issueSchema = z.strictObject({
  /** Whom or what it is for; only shown. */
  label: z
    .string()
    .regex(/^[\p{L}\p{N} ._@-]{0,64}$/u, 'at most 64 letters, digits, spaces and . _ @ -')
    .default(''),
});

/** The routes of tokens; they never reject. */
export function tokenRoute(deps: TokenRouteDeps): HttpRoute {
  const { tokens, logger } = deps;

  async function answer(request: AnyRequest): Promise<object> {
    const tokenId = bearerOf(request, tokens);
    const path = pathOf(request).slice(OPERATOR_PREFIX.length);
    if (path === '/token' && request.method === 'GET') {
      const { version, instance } = deps;
      return { skerry: version, instance, ...deps.endpoint(), apiKey: tokens.apiKeyForToken(tokenId) };
    }
    if (tokenId !== tokens.tokenId) {
      throw new SkerryError(
        'permission-denied',
        "Tokens are managed with the owner's, on the server's machine.",
      );
    }
    if (path === '/tokens' && request.method === 'GET') return { tokens: tokens.issued() };
    if (path === '/tokens' && request.method === 'POST') {
      const { label } = await readBody(request, issueSchema);
      const issued = tokens.issue(label, deps.now());
      logger.info({ tokenId: issued.tokenId, label }, 'token.issued');
      return issued;
    }
    const revoked = /^\/tokens\/(ak-[0-9A-Za-z]{1,64})$/.exec(path)?.[1];
    if (revoked !== undefined && request.method === 'DELETE') {
      tokens.revoke(revoked);
      logger.info({ tokenId: revoked }, 'token.revoked');
      return { revoked };
    }
    throw new SkerryError(
      'not-found',
      `There is no ${request.method} ${OPERATOR_PREFIX}${path.slice(0, 100)}.`,
    );
  }

  return operatorRoute(OPERATOR_PREFIX, logger, answer);
}
