/**
 * What the `skerry` command and `skerry connect` ask a server about tokens, as JSON over HTTP below `/skerry/v1`. The bearer of each request is a token,
 * `<id>:<secret>`.
 *
 *   GET    token          which server this is, how other machines reach it, and the REST key and the scope of the bearer's token
 *   GET    tokens         the tokens that were made, each with what its sandboxes take
 *   POST   tokens         {label, scope, expiresAtMs, quotas}: makes one
 *   POST   tokens/<id>/secret  {graceMs}: gives one another secret; the one before is good for so long
 *   DELETE tokens/<id>    revokes one
 *
 * All but the first need the scope `admin`.
 */
import { z } from 'zod';
import { quotasSchema } from '../../auth/quotas.ts';
import { type Identity, requireScope, scopes } from '../../auth/scopes.ts';
import type { TokenStore } from '../../auth/token-store.ts';
import type { Taken } from '../../sandboxes/quotas.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, operatorRoute, readBody } from './requests.ts';

export interface TokenRouteDeps {
  readonly tokens: TokenStore;
  /** What the sandboxes that were made with a token take. */
  readonly takenBy: (tokenId: string) => Taken;
  /** As `/healthz` tells them. */
  readonly version: string;
  readonly instance: string;
  /** How other machines reach the server, if they can, and the fingerprint of its key. */
  readonly endpoint: () => { readonly url: string | undefined; readonly fingerprint: string };
  readonly logger: Logger;
}

/** Longer than any machine takes to be told. */
const MAX_GRACE_MS = 30 * 86_400_000;

const issueSchema = z.strictObject({
  /** Whom or what it is for; only shown. */
  label: z
    .string()
    .regex(/^[\p{L}\p{N} ._@-]{0,64}$/u, 'at most 64 letters, digits, spaces and . _ @ -')
    .default(''),
  scope: z.enum(scopes).default('sandboxes'),
  expiresAtMs: z.int().positive().optional(),
  quotas: quotasSchema.strict().default({}),
});

const rotateSchema = z.strictObject({ graceMs: z.int().min(0).max(MAX_GRACE_MS).default(0) });

/** The routes of tokens; they never reject. */
export function tokenRoute(deps: TokenRouteDeps): HttpRoute {
  const { tokens, logger } = deps;

  async function answer(request: AnyRequest, _signal: AbortSignal, identity: Identity): Promise<object> {
    const { tokenId, scope } = identity;
    const path = pathOf(request).slice(OPERATOR_PREFIX.length);
    if (path === '/token' && request.method === 'GET') {
      const { version, instance } = deps;
      const apiKey = tokens.apiKeyForToken(tokenId);
      return { skerry: version, instance, ...deps.endpoint(), scope, apiKey };
    }
    requireScope(identity, 'admin', 'Looking after tokens');
    if (path === '/tokens' && request.method === 'GET') {
      return { tokens: tokens.issued().map((each) => ({ ...each, taken: deps.takenBy(each.tokenId) })) };
    }
    if (path === '/tokens' && request.method === 'POST') {
      const { expiresAtMs, ...wish } = await readBody(request, issueSchema);
      const issued = tokens.issue({ ...wish, ...(expiresAtMs !== undefined && { expiresAtMs }) });
      logger.info({ tokenId: issued.tokenId, ...wish, expiresAtMs, by: tokenId }, 'token.issued');
      return issued;
    }
    const rotated = /^\/tokens\/(ak-[0-9A-Za-z]{1,64})\/secret$/.exec(path)?.[1];
    if (rotated !== undefined && request.method === 'POST') {
      const { graceMs } = await readBody(request, rotateSchema);
      const issued = tokens.rotate(rotated, graceMs);
      logger.info({ tokenId: rotated, graceMs, by: tokenId }, 'token.rotated');
      return issued;
    }
    const revoked = /^\/tokens\/(ak-[0-9A-Za-z]{1,64})$/.exec(path)?.[1];
    if (revoked !== undefined && request.method === 'DELETE') {
      tokens.revoke(revoked);
      logger.info({ tokenId: revoked, by: tokenId }, 'token.revoked');
      return { revoked };
    }
    throw nothingAt(request);
  }

  return operatorRoute(OPERATOR_PREFIX, { logger, tokens, needed: 'admin' }, answer);
}
