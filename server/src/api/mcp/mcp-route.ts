/**
 * `/mcp`: sandboxes as tools of agents, by the Model Context Protocol over streamable HTTP (https://modelcontextprotocol.io/specification). The bearer is a
 * token with the scope `sandboxes`; the address says what the sandboxes are made with, which is for whoever configures the agent to write and not the model's to
 * choose. The tools are those of `skerry mcp`, and reach their sandboxes as that does: over `/v1`, with the caller's token.
 */
import { z } from 'zod';
import { requireScope } from '../../auth/scopes.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import type { HttpRoute } from '../../transport/routes.ts';
import { isLoopback } from '../../transport/urls.ts';
import { bearerOf, type OperatorAuth, readBody, told } from '../operator/requests.ts';
import type { McpSessions } from './mcp-sessions.ts';
import { settingsOf } from './sandbox-settings.ts';

export const MCP_PATH = '/mcp';
/** A message may carry a file to write. */
const MAX_MESSAGE_BYTES = 8 << 20;

export interface McpRouteDeps {
  readonly tokens: OperatorAuth;
  readonly sandboxes: Pick<Sandboxes, 'get'>;
  /** Where the server reaches itself. */
  readonly url: () => string;
  /** The server's names: pages of theirs may call, as those of this machine. */
  readonly names: readonly string[];
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface McpRoute extends HttpRoute {
  /** Ends conversations in which nobody speaks any more. */
  sweep(): Promise<void>;
  /** Ends all conversations. */
  close(): Promise<void>;
}

/** The route; it never rejects. */
export function mcpRoute(deps: McpRouteDeps): McpRoute {
  const { tokens, sandboxes, logger, now } = deps;
  let opened: Promise<McpSessions> | undefined;
  // The protocol's package takes time and memory that servers without agents need not spend.
  const open = async () => {
    const { McpSessions } = await import('./mcp-sessions.ts');
    const endWith = tokens.endWith.bind(tokens);
    return new McpSessions({ sandboxes, logger, now, endWith });
  };

  async function answer(request: AnyRequest, response: AnyResponse): Promise<void> {
    allowOrigin(request, response, deps.names);
    if (request.method === 'OPTIONS') {
      response.statusCode = 204;
      response.end();
      return;
    }
    const identity = bearerOf(request, tokens);
    requireScope(identity, 'sandboxes', 'Working in sandboxes');
    const { authorization = '' } = request.headers;
    const message =
      request.method === 'POST' ? await readBody(request, z.unknown(), MAX_MESSAGE_BYTES) : undefined;
    const address = new URL(request.url ?? '', 'http://localhost');
    const caller = {
      tokenId: identity.tokenId,
      options: () => ({
        ...settingsOf(address.searchParams),
        url: deps.url(),
        token: authorization.replace(/^bearer /i, ''),
      }),
      host: hostOf(request),
    };
    opened ??= open();
    await (await opened).handle(request, response, caller, message);
  }

  return {
    prefix: MCP_PATH,
    async handle(request, response) {
      try {
        await answer(request, response);
      } catch (thrown) {
        if (response.headersSent) return void response.destroy();
        const { status, error } = told(thrown, MCP_PATH, logger);
        response.statusCode = status;
        response.setHeader('content-type', 'application/json');
        if (status === 401) response.setHeader('www-authenticate', 'Bearer');
        // What a client of the protocol reads.
        response.end(
          JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_000, message: error.message } }),
        );
      }
    },
    async sweep() {
      (await opened)?.sweep();
    },
    async close() {
      await (await opened)?.close();
    },
  };
}

/**
 * A page on the internet may have its name lead to this machine (DNS rebinding), and then its browser takes us for its own server: so only pages of this
 * machine, and of the server's own names, may call. Programs send no origin.
 * @throws SkerryError `permission-denied`
 */
function allowOrigin(request: AnyRequest, response: AnyResponse, names: readonly string[]): void {
  const { origin } = request.headers;
  if (origin === undefined) return;
  const host = URL.canParse(origin) ? new URL(origin).hostname.replace(/^\[|\]$/g, '') : '';
  if (!isLoopback(host) && !names.includes(host)) {
    throw new SkerryError('permission-denied', 'Pages of this origin may not call.');
  }
  response.setHeader('vary', 'origin');
  response.setHeader('access-control-allow-origin', origin);
  response.setHeader('access-control-allow-methods', 'GET, POST, DELETE');
  response.setHeader(
    'access-control-allow-headers',
    'authorization, content-type, mcp-session-id, mcp-protocol-version, last-event-id',
  );
  response.setHeader('access-control-expose-headers', 'mcp-session-id');
}

/** The host by which the caller reached us, without its port. */
function hostOf(request: AnyRequest): string {
  const authority = ('authority' in request ? request.authority : undefined) ?? request.headers.host ?? '';
  const { hostname } = URL.canParse(`http://${authority}`)
    ? new URL(`http://${authority}`)
    : { hostname: '' };
  return hostname === '' ? 'localhost' : hostname;
}
