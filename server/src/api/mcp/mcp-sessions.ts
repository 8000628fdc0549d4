/** Conversations over streamable HTTP: each has its own tools, and with them its own sandboxes, which end with it. */
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import type { CreateOptions } from '../../../../sdk/src/index.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SandboxId } from '../../ids.ts';
import type { Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import { VERSION } from '../../version.ts';
import { type SandboxTools, sandboxTools } from './sandbox-tools.ts';

/** A conversation nobody speaks in for so long is over. */
export const IDLE_MS = 30 * 60_000;
const MAX_SESSIONS = 256;

export interface Caller {
  readonly tokenId: string;
  /** What the sandboxes of a conversation that begins now are made with. */
  readonly options: () => CreateOptions;
  /** By which the caller reached the server. */
  readonly host: string;
}

/** An event emitter, so that it can end with its token as an answer does: `TokenStore.endWith`. */
class Session extends EventEmitter<{ close: [] }> {
  readonly tokenId: string;
  readonly transport: StreamableHTTPServerTransport;
  readonly tools: SandboxTools;
  /** Requests under way; the stream on which a client listens is one. */
  #busy = 0;
  #lastUsedMs: number;

  constructor(tokenId: string, transport: StreamableHTTPServerTransport, tools: SandboxTools, nowMs: number) {
    super();
    this.tokenId = tokenId;
    this.transport = transport;
    this.tools = tools;
    this.#lastUsedMs = nowMs;
  }

  use(response: AnyResponse, now: () => number): void {
    this.#busy += 1;
    response.once('close', () => {
      this.#busy -= 1;
      this.#lastUsedMs = now();
    });
  }

  isIdle(nowMs: number): boolean {
    return this.#busy === 0 && this.#lastUsedMs + IDLE_MS <= nowMs;
  }

  destroy(): void {
    this.emit('close');
  }
}

export interface McpSessionsOptions {
  readonly sandboxes: Pick<Sandboxes, 'get'>;
  readonly endWith: (tokenId: string, session: Session) => void;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export class McpSessions {
  readonly #options: McpSessionsOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #ending = new Set<Promise<void>>();

  constructor(options: McpSessionsOptions) {
    this.#options = options;
  }

  /**
   * Answers one request of a conversation, or begins one.
   * @param message the body of a POST, parsed
   * @throws SkerryError `not-found` for a conversation that is over or another's, `invalid-argument`, `resource-exhausted`
   */
  async handle(request: AnyRequest, response: AnyResponse, caller: Caller, message: unknown): Promise<void> {
    const session = await this.#sessionFor(request, caller, message);
    session.use(response, this.#options.now);
    // HTTP/2 requests come through Node's compatibility API, which has every part of HTTP/1.1's that is used.
    await session.transport.handleRequest(request as IncomingMessage, response as ServerResponse, message);
  }

  async #sessionFor(request: AnyRequest, caller: Caller, message: unknown): Promise<Session> {
    const id = request.headers['mcp-session-id'];
    if (id !== undefined) {
      const session = this.#sessions.get(String(id));
      // Whoever has an id and another token learns nothing.
      if (session?.tokenId === caller.tokenId) return session;
      throw new SkerryError('not-found', 'There is no such session, or it is over. Initialize a new one.');
    }
    if (!isInitializeRequest(message)) {
      throw new SkerryError(
        'invalid-argument',
        'The header Mcp-Session-Id is missing; a session begins with initialize.',
      );
    }
    if (this.#sessions.size >= MAX_SESSIONS) {
      throw new SkerryError('resource-exhausted', `There are ${MAX_SESSIONS} sessions; end some.`);
    }
    return this.#begin(caller);
  }

  async #begin({ tokenId, options, host }: Caller): Promise<Session> {
    const { logger, now, endWith, sandboxes } = this.#options;
    const idle = { idleTimeoutSeconds: IDLE_MS / 1000 }; // what a server that is killed leaves ends by itself
    const tools = sandboxTools({
      ...{ version: VERSION, create: { ...idle, ...options() }, host },
      // Not with the caller's token, which may be revoked by then.
      terminate: ({ id }) => sandboxes.get(id as SandboxId).terminate(), // the server gave it
    });
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => {
        this.#sessions.set(id, session);
        session.once('close', () => this.#end(id, session));
        endWith(tokenId, session);
        logger.info({ session: id, tokenId }, 'mcp.session-began');
      },
      onsessionclosed: () => session.destroy(),
    });
    const session = new Session(tokenId, transport, tools, now());
    await tools.server.connect(transport as Parameters<typeof tools.server.connect>[0]); // its optional fields are written otherwise
    return session;
  }

  #end(id: string, session: Session): void {
    if (!this.#sessions.delete(id)) return;
    const { logger } = this.#options;
    const ended: Promise<void> = Promise.resolve(session.tools[Symbol.asyncDispose]())
      .catch((error: unknown) => logger.warn({ err: error, session: id }, 'mcp.session-left-something'))
      .finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
    logger.info({ session: id }, 'mcp.session-ended');
  }

  /** Ends those in which nobody speaks any more. */
  sweep(): void {
    const nowMs = this.#options.now();
    for (const session of this.#sessions.values()) if (session.isIdle(nowMs)) session.destroy();
  }

  /** Ends all of them; resolves once their sandboxes are gone. */
  async close(): Promise<void> {
    for (const session of this.#sessions.values()) session.destroy();
    await Promise.all(this.#ending);
  }
}
