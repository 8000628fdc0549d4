/** What requests are about. */
import type { FastifyRequest } from 'fastify';
import type { SandboxId } from '../../ids.ts';

/** Ids of ours and of callers; what is longer or has other characters is none. */
const ID = /^[\x21-\x7e]{1,128}$/;

/** Where paths of the interfaces have what stands for a sandbox: its id, or a name that the one asking gave it (a test compares with their routes). */
const SANDBOX = /^\/(?:v1\/|modbox\/v1\/|skerry\/v1\/)?sandboxes\/([^/]{1,1536})(?:\/|$)/;

/** What stands for the sandbox that a path is about, decoded; undefined for a path that is about none, or is no URL. */
export function sandboxIn(path: string): string | undefined {
  const encoded = SANDBOX.exec(path)?.[1];
  try {
    return encoded && decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

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
