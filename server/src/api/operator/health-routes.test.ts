import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { healthRoutes } from './health-routes.ts';

test('a server is ready unless it drains, its disk is full, its database is away or nothing can run sandboxes; it is well all the same', async (t) => {
  const now = { draining: false, runtime: true, database: true, bytes: 1, files: 1 };
  const routes = healthRoutes({
    ...{ version: '1', instance: '0badcafe', sandboxes: () => 3 },
    draining: () => now.draining,
    hasDatabase: () => now.database,
    hasRuntime: () => now.runtime,
    room: async () => ({ bytes: now.bytes, files: now.files }),
  });
  const server = http.createServer((request, response) => {
    void routes.find(({ prefix }) => prefix === request.url)?.handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo; // TCP, so it has one
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const about = { version: '1', instance: '0badcafe', sandboxes: 3 };
  assert.deepEqual(await ask('/readyz'), { status: 200, body: { status: 'ready', ...about, reasons: [] } });
  for (const [change, reason] of [
    [{ draining: true }, 'draining'],
    [{ runtime: false }, 'no-runtime'],
    [{ database: false }, 'no-database'],
    [{ bytes: -1 }, 'disk-full'],
    [{ files: 0 }, 'disk-full'],
  ] as const) {
    const before = { ...now };
    Object.assign(now, change);
    const { status, body } = await ask('/readyz');
    assert.deepEqual([status, body.reasons], [503, [reason]]);
    assert.deepEqual(await ask('/healthz'), { status: 200, body: { status: 'ok', ...about } });
    Object.assign(now, before);
  }
});
