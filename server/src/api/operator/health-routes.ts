/**
 * `GET /healthz`: the process answers. `GET /readyz`: it should be sent work; 503 and why where not. Neither takes a token, for load balancers and Kubernetes have none, and
 * neither tells of a tenant. While the server starts its port answers nobody: a probe's own deadline makes that "not ready".
 */
import type { Room } from '../../platform/kept-room.ts';
import { type HttpRoute, sendJson } from '../../transport/routes.ts';

/** Why a server should not be sent work. */
type NotReady = 'draining' | 'disk-full' | 'no-database' | 'no-runtime';

export interface HealthDeps {
  readonly version: string;
  readonly instance: string;
  /** How many sandboxes have not ended. */
  readonly sandboxes: () => number;
  /** Whether it is about to stop. */
  readonly draining: () => boolean;
  /** Whether anything can run sandboxes. */
  readonly hasRuntime: () => boolean;
  /** Whether what is known can be read. */
  readonly hasDatabase: () => boolean;
  /** What sandboxes and uploads may take of the disk. */
  readonly room: () => Promise<Room>;
}

export function healthRoutes(deps: HealthDeps): readonly HttpRoute[] {
  const { version, instance, sandboxes } = deps;
  const about = (status: string) => ({ status, version, instance, sandboxes: sandboxes() });
  return [
    { prefix: '/healthz', here: true, handle: (_request, response) => sendJson(response, 200, about('ok')) },
    {
      prefix: '/readyz',
      here: true,
      async handle(_request, response) {
        const reasons = await whyNot(deps);
        const ready = reasons.length === 0;
        sendJson(response, ready ? 200 : 503, { ...about(ready ? 'ready' : 'not-ready'), reasons });
      },
    },
  ];
}

async function whyNot({ draining, hasDatabase, hasRuntime, room }: HealthDeps): Promise<readonly NotReady[]> {
  const { bytes, files } = await room();
  return [
    ...(draining() ? (['draining'] as const) : []),
    ...(hasDatabase() ? [] : (['no-database'] as const)),
    ...(hasRuntime() ? [] : (['no-runtime'] as const)),
    ...(bytes > 0 && files > 0 ? [] : (['disk-full'] as const)),
  ];
}
