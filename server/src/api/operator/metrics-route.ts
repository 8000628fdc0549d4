/**
 * `GET /metrics` for Prometheus. It takes a token, as everything else that tells of tenants: the port is the one that clients reach, and may be open to others.
 * What a machine's programs may reach on the loopback is no smaller circle, and one more port to watch.
 */

import { statfs } from 'node:fs/promises';
import type { TokenStore } from '../../auth/token-store.ts';
import type { ImageService } from '../../images/image-service.ts';
import { roomOf } from '../../platform/kept-room.ts';
import type { SandboxService } from '../../sandboxes/sandbox-service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { HttpRoute } from '../../transport/routes.ts';
import { VERSION } from '../../version.ts';
import { bearerOf, nothingAt, told } from './requests.ts';

export interface MetricsRouteDeps {
  readonly metrics: Metrics;
  readonly tokens: Pick<TokenStore, 'verify'>;
  readonly sandboxes: Pick<SandboxService, 'census' | 'warmKinds' | 'follow'>;
  readonly images: Pick<ImageService, 'building' | 'cache'>;
  readonly dataDir: string;
  /** Statements that were sent to a database elsewhere, and milliseconds of the server that waited for them; undefined where none is. */
  readonly databaseWaits: () => { readonly count: number; readonly ms: number } | undefined;
  readonly logger: Logger;
}

const METRICS_PATH = '/metrics';

/** The route; it never rejects. From now on the metrics have what these parts tell. */
export function metricsRoute(deps: MetricsRouteDeps): HttpRoute {
  const { metrics, tokens, logger } = deps;
  watch(deps);
  return {
    prefix: METRICS_PATH,
    here: true,
    async handle(request, response) {
      try {
        bearerOf(request, tokens);
        if (request.method !== 'GET') throw nothingAt(request);
        const text = await metrics.text();
        response.setHeader('content-type', metrics.contentType);
        response.end(text);
      } catch (thrown) {
        const { status, error } = told(thrown, METRICS_PATH, logger);
        response.statusCode = status;
        response.setHeader('content-type', 'text/plain; charset=utf-8');
        response.end(`${error.message}\n`);
      }
    },
  };
}

function watch({ metrics, sandboxes, images, dataDir, databaseWaits }: MetricsRouteDeps): void {
  sandboxes.follow(({ kind, result }) => {
    if (kind === 'ended' && result) metrics.ended(result.kind);
  });
  metrics.counter({
    name: 'skerry_database_statements_total',
    help: 'Statements that the server waited for.',
    read: () => databaseWaits()?.count ?? 0,
  });
  metrics.counter({
    name: 'skerry_database_wait_seconds_total',
    help: 'How long it did, and nothing else meanwhile.',
    read: () => (databaseWaits()?.ms ?? 0) / 1000,
  });
  metrics.gauge({
    name: 'skerry_build_info',
    help: 'Always 1.',
    labels: ['version'],
    read: () => [[{ version: VERSION }, 1]],
  });
  metrics.gauge({
    name: 'skerry_sandboxes',
    help: 'Sandboxes that have not ended, sidecars included.',
    labels: ['state', 'isolation'],
    read: () =>
      sandboxes
        .census()
        .map(({ state, isolation = 'none', count }) => [{ state, isolation }, count] as const),
  });
  metrics.gauge({
    name: 'skerry_warm_sandboxes',
    help: 'Sandboxes that wait for whoever asks next, are being made, or should be there.',
    labels: ['runtime', 'what'],
    read: () =>
      [...Map.groupBy(sandboxes.warmKinds(), ({ runtime }) => runtime)].flatMap(([runtime, kinds]) =>
        (['waiting', 'making', 'wanted'] as const).map(
          (what) => [{ runtime, what }, kinds.reduce((sum, kind) => sum + kind[what], 0)] as const,
        ),
      ),
  });
  metrics.gauge({
    name: 'skerry_images',
    help: 'Images that clients can find.',
    read: () => images.cache.images,
  });
  metrics.gauge({
    name: 'skerry_image_layers_bytes',
    help: 'What layers of images take on the disk.',
    read: () => images.cache.layers().reduce((sum, { bytes }) => sum + bytes, 0),
  });
  metrics.gauge({
    name: 'skerry_image_builds_running',
    help: 'Image builds under way.',
    read: () => images.building,
  });
  metrics.gauge({
    name: 'skerry_disk_bytes',
    help: 'The file system of the data directory: its size, what is free, and what of that sandboxes and uploads may take.',
    labels: ['what'],
    read: async () => {
      const { bavail, blocks, bsize } = await statfs(dataDir);
      const [size, free] = [blocks * bsize, bavail * bsize];
      return Object.entries({ size, free, usable: Math.max(0, roomOf(free, size)) }).map(
        ([what, bytes]) => [{ what }, bytes] as const,
      );
    },
  });
}
