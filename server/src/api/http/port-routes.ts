/** `…/tunnels` and `…/connect-tokens`: how ports of a sandbox are reached from outside. */
import { CONNECT_TOKEN_LIFETIME_S } from '../../auth/connect-tokens.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import { urlOf } from '../../transport/urls.ts';
import type { Tunnel } from '../../tunnels/tunnels.ts';
import { toldWhy, whileRunning } from './commands.ts';
import { connectTokenAnswer, connectTokenRequest, tunnelList } from './fields.ts';
import { answers, type HttpApp, openSandbox, type RouteParts, sandboxParams } from './routes.ts';

export function portRoutes(app: HttpApp, parts: RouteParts): void {
  const { tunnels, httpAccess } = parts;
  const common = { tags: ['Ports'], security: [{ sandboxKey: [] }], params: sandboxParams };

  app.get(
    '/tunnels',
    {
      schema: {
        ...common,
        operationId: 'listTunnels',
        summary: 'Where the ports are that it was provisioned with. Waits until it runs.',
        response: answers({ 200: tunnelList }, 404, 410, 425, 429, 503),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const found = await whileRunning(sandbox, signal, () => tunnels.of(sandbox, 0, signal));
      if (!found) throw new SkerryError('not-ready', 'The sandbox is still starting.');
      return { tunnels: found.map(toAnswer) };
    },
  );

  app.post(
    '/connect-tokens',
    {
      schema: {
        ...common,
        operationId: 'createConnectToken',
        summary: 'A URL and a token for HTTP requests and websockets to a port, whichever. Need not run yet.',
        body: connectTokenRequest,
        response: answers({ 201: connectTokenAnswer }, 404, 410, 413, 429, 503),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const { port, userMetadata: given } = request.body;
      const userMetadata = typeof given === 'object' ? JSON.stringify(given) : given || undefined;
      try {
        const granted = await httpAccess.credentials(sandbox, { port, userMetadata });
        return await reply.code(201).send({ ...granted, expiresInSeconds: CONNECT_TOKEN_LIFETIME_S });
      } catch (error) {
        throw await toldWhy(error, sandbox, signal);
      }
    },
  );
}

const toAnswer = ({ containerPort, encrypted, plain }: Tunnel) => ({
  port: containerPort,
  url: urlOf('https', encrypted.host, encrypted.port),
  plain: plain ? { ...plain } : null,
});
