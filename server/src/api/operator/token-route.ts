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
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';

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

const PREFIX = '/skerry/v1';
const MAX_BODY_BYTES = 4096;

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
    const path = pathOf(request).slice(PREFIX.length);
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
      const { label } = parse(await bodyOf(request));
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
    throw new SkerryError('not-found', `There is no ${request.method} ${PREFIX}${path.slice(0, 100)}.`);
  }

  return {
    prefix: PREFIX,
    async handle(request, response) {
      try {
        send(response, 200, await answer(request));
      } catch (thrown) {
        const error = toSkerryError(thrown);
        const internal = error.code === 'internal';
        if (internal) logger.error({ err: error }, 'token.request-failed');
        const message = internal ? 'Skerry failed to answer this request.' : error.message;
        send(response, error.kind.http, { error: { code: error.code, message } });
      }
    },
  };
}

/** @throws SkerryError `unauthenticated` */
function bearerOf(request: AnyRequest, tokens: TokenStore): string {
  const match = /^Bearer ([\x21-\x39\x3b-\x7e]{1,128}):([\x21-\x7e]{1,128})$/i.exec(
    request.headers.authorization ?? '',
  );
  return tokens.verify(match?.[1], match?.[2]);
}

function parse(body: string): z.infer<typeof issueSchema> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new SkerryError('invalid-argument', 'The body is no JSON.');
  }
  const { data, error } = issueSchema.safeParse(value);
  if (!data) throw new SkerryError('invalid-argument', z.prettifyError(error));
  return data;
}

async function bodyOf(request: AnyRequest): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES)
      throw new SkerryError('too-large', `The body exceeds ${MAX_BODY_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(response: AnyResponse, status: number, body: object): void {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.setHeader('cache-control', 'no-store');
  response.end(JSON.stringify(body));
}
