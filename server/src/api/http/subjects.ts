/** What requests are about. */
import type { FastifyRequest } from 'fastify';
import type { SandboxId } from '../../ids.ts';

/** Ids of ours and of callers; what is longer or has other characters is none. */
const ID = /^[\x21-\x7e]{1,128}$/;

const made = new WeakMap<FastifyRequest, SandboxId>();

/** Says that a request made this sandbox, or found that an earlier one had. */
export function noteMade(request: FastifyRequest, sandboxId: SandboxId): void {
  made.set(request, sandboxId);
}

/** The ids in the path of a request by the names that its route has for them, and the sandbox that it made. */
export function subjectsOf(request: FastifyRequest): Readonly<Record<string, string>> {
  const inPath = Object.entries(request.params ?? {}).filter(
    (entry): entry is [string, string] =>
      entry[0].endsWith('Id') && typeof entry[1] === 'string' && ID.test(entry[1]),
  );
  const sandboxId = made.get(request);
  return { ...Object.fromEntries(inPath), ...(sandboxId && { sandboxId }) };
}
