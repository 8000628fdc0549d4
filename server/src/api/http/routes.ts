/** What the route files share: their parts, their types, and how a request finds its sandbox. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  RawServerDefault,
} from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { $ZodType } from 'zod/v4/core';
import type { SandboxId } from '../../ids.ts';
import type { Sandbox, Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { HttpAccess } from '../../tunnels/http-access.ts';
import type { Tunnels } from '../../tunnels/tunnels.ts';
import type { HttpAuth } from './caller.ts';
import { hangUpSignal } from './event-stream.ts';
import { errorAnswer } from './fields.ts';

export interface RouteParts {
  readonly auth: HttpAuth;
  readonly sandboxes: Sandboxes;
  readonly tunnels: Tunnels;
  readonly httpAccess: HttpAccess;
  readonly logger: Logger;
  /** Largest file that may be written, in bytes. */
  readonly maxFileBytes: number;
  /** Aborted when the server closes: ends every wait. */
  readonly closing: AbortSignal;
}

export type HttpApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** The path of everything that is about one sandbox. */
export const sandboxParams = z.object({ sandboxId: z.string().max(100) });

type ErrorStatus = 400 | 401 | 403 | 404 | 409 | 410 | 413 | 422 | 425 | 429 | 501 | 503;

/** A route's answers: its good one, and the errors it can give, for the OpenAPI document. */
export function answers<Good extends Record<number, unknown>>(
  good: Good,
  ...errors: readonly ErrorStatus[]
): Good & Record<ErrorStatus, typeof errorAnswer> {
  const statuses: readonly ErrorStatus[] = [400, 401, 403, ...errors];
  const failures = Object.fromEntries(statuses.map((status) => [status, errorAnswer]));
  // The type claims every error status, so that an error answer type-checks wherever it is sent.
  return { ...good, ...failures } as Good & Record<ErrorStatus, typeof errorAnswer>;
}

/** An answer that is not JSON. */
export const content = (contentType: string, schema: $ZodType, description: string) => ({
  description,
  content: { [contentType]: { schema } },
});

/**
 * The sandbox a request is about. While the request lasts, the sandbox does not idle; `signal` is aborted when the caller hangs up.
 * @throws SkerryError `not-found`
 */
export function openSandbox(
  parts: RouteParts,
  request: FastifyRequest<{ Params: { sandboxId: string } }>,
  reply: FastifyReply,
): { readonly sandbox: Sandbox; readonly signal: AbortSignal } {
  // Any text may be asked for; what is not a sandbox's id is not found.
  const sandbox = parts.sandboxes.get(request.params.sandboxId as SandboxId);
  const signal = hangUpSignal(reply, parts.closing);
  if (sandbox.state !== 'ended') reply.raw.once('close', sandbox.hold());
  return { sandbox, signal };
}
