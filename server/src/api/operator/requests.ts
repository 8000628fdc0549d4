/** What requests of the `skerry` command have in common: JSON over HTTP below `/skerry/v1`, with a token, `<id>:<secret>`, as bearer. */
import { z } from 'zod';
import { type Identity, requireScope, type Scope } from '../../auth/scopes.ts';
import type { TokenStore } from '../../auth/token-store.ts';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf, sendJson } from '../../transport/routes.ts';
import { StreamedAnswer } from './streamed-answer.ts';

export const OPERATOR_PREFIX = '/skerry/v1';
const MAX_BODY_BYTES = 4096;

/**
 * A route that answers with JSON, or with a stream; it never rejects. Looking needs the scope `read`, all else `needed`.
 * @param answer its signal ends when nobody waits for the answer any more
 */
export function operatorRoute(
  prefix: string,
  { logger, tokens, needed }: { logger: Logger; tokens: OperatorAuth; needed: Scope },
  answer: (request: AnyRequest, signal: AbortSignal, identity: Identity) => Promise<object | StreamedAnswer>,
): HttpRoute {
  return {
    prefix,
    async handle(request, response) {
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      try {
        const identity = bearerOf(request, tokens);
        const { method } = request;
        requireScope(
          identity,
          method === 'GET' ? 'read' : needed,
          `${method} ${pathOf(request).slice(0, 100)}`,
        );
        const found = await answer(request, gone.signal, identity);
        if (found instanceof StreamedAnswer) {
          tokens.endWith(identity.tokenId, response);
          await found.send(response);
        } else sendJson(response, 200, found);
      } catch (thrown) {
        if (gone.signal.aborted) return;
        const { status, error } = told(thrown, prefix, logger);
        sendJson(response, status, { error });
      }
    },
  };
}

/** What the command is told of an error; one of our own is logged and not told. */
export function told(thrown: unknown, prefix: string, logger: Logger) {
  const error = toSkerryError(thrown);
  const internal = error.code === 'internal';
  if (internal) logger.error({ err: error, prefix }, 'operator.request-failed');
  const message = internal ? 'Skerry failed to answer this request.' : error.message;
  return { status: error.kind.http, error: { code: error.code, message } };
}

/** The part of authentication that the routes need. */
export type OperatorAuth = Pick<TokenStore, 'verify' | 'endWith'>;

/** Who asks. @throws SkerryError `unauthenticated` */
export function bearerOf(request: AnyRequest, tokens: Pick<OperatorAuth, 'verify'>): Identity {
  const match = /^Bearer ([\x21-\x39\x3b-\x7e]{1,128}):([\x21-\x7e]{1,128})$/i.exec(
    request.headers.authorization ?? '',
  );
  return tokens.verify(match?.[1], match?.[2]);
}

export const nothingAt = (request: AnyRequest): SkerryError =>
  new SkerryError('not-found', `There is no ${request.method} ${pathOf(request).slice(0, 100)}.`);

/** The body as that schema has it. @throws SkerryError `invalid-argument`, `too-large` */
export async function readBody<T>(
  request: AnyRequest,
  schema: z.ZodType<T>,
  maxBytes: number = MAX_BODY_BYTES,
): Promise<T> {
  const body = await bodyOf(request, maxBytes);
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new SkerryError('invalid-argument', 'The body is no JSON.');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new SkerryError('invalid-argument', z.prettifyError(parsed.error));
  return parsed.data;
}

async function bodyOf(request: AnyRequest, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new SkerryError('too-large', `The body exceeds ${maxBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
