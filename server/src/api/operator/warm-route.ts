/**
 * What the `skerry` command asks about sandboxes that wait for whoever asks next, as JSON over HTTP. Both are the owner's.
 *
 *   GET  warm  which kinds wait, and where the time of the last starts went
 *   POST warm  {image, count, forMs, blockNetwork, runtime}: has so many wait; answers once they do, or cannot
 */
import { z } from 'zod';
import type { ImageResolver } from '../../images/image-resolver.ts';
import type { SandboxService } from '../../sandboxes/sandbox-service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute, readBody } from './requests.ts';

export interface WarmRouteDeps {
  readonly tokens: OperatorAuth;
  readonly sandboxes: Pick<SandboxService, 'warmKinds' | 'keepWarm' | 'startups'>;
  /** Waits for images as long as they take. */
  readonly images: Pick<ImageResolver, 'resolve'>;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/warm`;
/** Longer than an image takes to be fetched or built. */
const TIMEOUT_MS = 30 * 60_000;

const wishSchema = z.strictObject({
  /** An id, or a reference as `Image.from_registry` takes it. */
  image: z.string().min(1).max(512),
  count: z.int().min(1).max(1000),
  forMs: z
    .number()
    .min(1000)
    .max(30 * 86_400_000),
  blockNetwork: z.boolean().default(false),
  runtime: z.enum(['auto', 'gvisor', 'runc']).optional(),
});

/** The routes; they never reject. */
export function warmRoute({ tokens, sandboxes, images, logger }: WarmRouteDeps): HttpRoute {
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request: AnyRequest) => {
    const path = pathOf(request);
    if (path === PREFIX && request.method === 'GET') {
      return { kinds: sandboxes.warmKinds(), startups: sandboxes.startups() };
    }
    if (path === PREFIX && request.method === 'POST') {
      const { image, blockNetwork, ...wish } = await readBody(request, wishSchema);
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const { id } = await images.resolve(image, signal);
      const network = { kind: blockNetwork ? 'blocked' : 'open' } as const;
      return sandboxes.keepWarm({ imageId: id, network, runtime: wish.runtime }, wish, signal);
    }
    throw nothingAt(request);
  });
}
