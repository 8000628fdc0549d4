/** A gateway on a port of this machine, before a program of the test's own instead of one in a sandbox. */
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { ConnectTokens } from '../../../auth/connect-tokens.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { newSandboxId, type SandboxId } from '../../../ids.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import { type GatewayOptions, HttpGateway } from '../gateway.ts';

export interface ServedGateway extends AsyncDisposable {
  /** Of the gateway. */
  readonly port: number;
  readonly url: string;
  readonly sandboxId: SandboxId;
  readonly tokens: ConnectTokens;
  /** A good one. */
  readonly token: string;
  readonly bearer: { readonly authorization: string };
  /** What the gateway logged. */
  readonly log: readonly string[];
  /** Sends bytes on a connection of their own; all that comes back until it is closed. */
  raw(bytes: string): Promise<string>;
}

export interface ServedGatewayOptions extends Partial<Omit<GatewayOptions, 'tokens' | 'target' | 'logger'>> {
  /** Where the program listens; a port of its own when it is a server. Undefined: nowhere. */
  readonly program: http.Server | net.Server | undefined;
  readonly userMetadata?: string;
  /** `own` by default. */
  readonly host?: 'own' | 'shared';
}

/** The port in the sandbox that tokens are for. */
export const GUEST_PORT = 8080;

export async function serveGateway(options: ServedGatewayOptions): Promise<ServedGateway> {
  const { program, userMetadata, host = 'own', ...rest } = options;
  if (program && !program.listening) await once(program.listen(0, '127.0.0.1'), 'listening');
  const sandboxId = newSandboxId();
  const tokens = new ConnectTokens(new Uint8Array(32).fill(3), Date.now);
  const log: string[] = [];
  const gateway = new HttpGateway({
    target: {
      sandboxId,
      port: GUEST_PORT,
      host,
      connect: async () => {
        if (!program)
          throw new SkerryError('connection-refused', `Nothing in the sandbox listens on port ${GUEST_PORT}`);
        const socket = net.connect({
          port: (program.address() as AddressInfo).port,
          host: '127.0.0.1',
          noDelay: true,
        });
        await once(socket, 'connect');
        return socket;
      },
    },
    tokens,
    idleMs: 60_000,
    logger: createLogger('debug', { write: (line: string) => void log.push(line) }),
    ...rest,
  });
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    if (gateway.admit(socket)) gateway.serve(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const token = await tokens.issue({ sandboxId, port: GUEST_PORT, userMetadata });
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    ...{ sandboxId, tokens, token, log },
    bearer: { authorization: `Bearer ${token}` },
    raw: async (bytes) => {
      const socket = net.connect({ port, host: '127.0.0.1' });
      socket.write(bytes, 'latin1');
      let all = '';
      for await (const chunk of socket.setEncoding('latin1')) all += chunk;
      return all;
    },
    [Symbol.asyncDispose]: async () => {
      gateway.close();
      server.close();
      if (program instanceof http.Server) program.closeAllConnections();
      program?.close();
    },
  };
}

/** A program that says what it got, as JSON. */
export function echo(): http.Server {
  return http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url, rawHeaders, headers } = request;
      const body = Buffer.concat(chunks).toString('utf8');
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ method, url, rawHeaders, headers, body }));
    });
  });
}

/** What `echo` says. */
export interface Echoed {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}
