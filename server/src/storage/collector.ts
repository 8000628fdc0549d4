/**
 * Garbage collection: takes what nobody uses and what can be made or sent again, by age, by size and when the disk gets short. Images, cached build steps and uploaded files are
 * one cache with one bound; what may never be taken says docs/decisions/0015-what-is-collected.md.
 *
 * Everything else goes on meanwhile. What is taken is chosen and forgotten in one moment, without a wait in between, so nobody can begin to use it after it was looked at; only then
 * are its files removed. A server that is killed in between leaves files that nothing refers to, which the next one removes.
 */
import { statfs } from 'node:fs/promises';
import type { BlobStore, BlobUse, Mounts } from '../blobs/blobs.ts';
import type { LayerId } from '../ids.ts';
import type { ImageCache } from '../images/image-cache.ts';
import { type FaultPoint, noFaultPoint } from '../platform/fault-points.ts';
import { Limiter } from '../platform/limiter.ts';
import type { Logger } from '../telemetry/logger.ts';
import { doomedOf, type Kept } from './plan.ts';

const DAY_MS = 24 * 3_600_000;
const HOUR_MS = 3_600_000;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** How long between two collections, and between two when the disk is short. */
const INTERVAL_MS = 10 * 60_000;
const SHORT_INTERVAL_MS = 60_000;
/** Of the file system: what the cache may be, and what is to stay free. */
const CACHE_SHARE = 0.5;
const FREE_SHARE = 0.1;
const FREE_MOST_BYTES = 10 * GIB;

/** The bounds of the configuration; 0 where there is none, or a share of the file system. */
export interface CacheConfig {
  readonly cacheMaxDays: number;
  readonly cacheMaxMiB: number;
  readonly cacheMinFreeMiB: number;
  readonly cacheProtectHours: number;
}

export interface CollectorParts {
  readonly images: ImageCache;
  readonly blobs: Pick<BlobStore, 'uses' | 'isUnused' | 'remove'>;
  readonly mounts: Pick<Mounts, 'digestsInUse' | 'forgetHolding'>;
  readonly dataDir: string;
  readonly config: CacheConfig;
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** For tests that end the server at a chosen moment. */
  readonly faultPoint?: FaultPoint;
}

/** What a collection is asked for besides what the configuration says. */
export interface CollectRequest {
  /** Only says what would go. */
  readonly dryRun?: boolean;
  /** Takes all that was not used within this time. */
  readonly unusedForMs?: number;
}

export interface Collected {
  readonly layers: number;
  /** Images that cannot be found any more. In a dry run unknown: 0. */
  readonly images: number;
  readonly files: number;
  readonly bytes: number;
}

/** What there is to collect, in bytes. */
export interface CacheUse {
  readonly images: { readonly count: number; readonly bytes: number; readonly unheldBytes: number };
  readonly files: { readonly count: number; readonly bytes: number; readonly unheldBytes: number };
}

type Item = Kept & ({ readonly layer: LayerId } | { readonly blob: BlobUse });

export class Collector {
  readonly #parts: CollectorParts;
  readonly #faultPoint: FaultPoint;
  readonly #turn = new Limiter(1);
  #lastMs: number;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
    this.#faultPoint = parts.faultPoint ?? noFaultPoint;
    this.#lastMs = parts.now();
  }

  /** Collects when it is time to; called on a timer. */
  async sweep(): Promise<void> {
    const sinceMs = this.#parts.now() - this.#lastMs;
    const short = sinceMs >= SHORT_INTERVAL_MS && (await this.#bounds()).missingBytes > 0;
    if (short || sinceMs >= INTERVAL_MS) await this.collect();
  }

  /** Collects now, after a collection that is under way. */
  collect(request: CollectRequest = {}): Promise<Collected> {
    return this.#turn.run(() => this.#collect(request));
  }

  /** What there is. */
  async look(): Promise<CacheUse> {
    const items = this.#items(await this.#parts.blobs.uses());
    const of = (which: (item: Item) => boolean) => {
      const some = items.filter(which);
      return { bytes: total(some), unheldBytes: total(some.filter(({ held }) => !held)), count: some.length };
    };
    return {
      images: { ...of((item) => 'layer' in item), count: this.#parts.images.images },
      files: of((item) => 'blob' in item),
    };
  }

  async #collect({ dryRun = false, unusedForMs }: CollectRequest): Promise<Collected> {
    const { images, blobs, mounts, logger, now } = this.#parts;
    const begunMs = now();
    const [found, configured] = await Promise.all([blobs.uses(), this.#bounds()]);
    const bounds = { ...configured, maxAgeMs: Math.min(configured.maxAgeMs, unusedForMs ?? Infinity) };
    // From here to the end of `drop` and to the first wait of `remove` nothing may come between.
    const doomed = doomedOf(this.#items(found), bounds).filter(
      (item) => 'layer' in item || blobs.isUnused(item.blob),
    );
    const layers = doomed.flatMap((item) => ('layer' in item ? [item.layer] : []));
    const digests = doomed.flatMap((item) => ('blob' in item ? [item.blob.sha256Hex] : []));
    const collected = { layers: layers.length, images: 0, files: digests.length, bytes: total(doomed) };
    if (dryRun) return collected;
    this.#lastMs = begunMs;
    const dropped = images.drop(layers);
    if (bounds.maxAgeMs !== Infinity) images.dropEmpty(bounds.nowMs - bounds.maxAgeMs);
    this.#faultPoint('storage.collect.after-images');
    if (digests.length > 0) mounts.forgetHolding(digests);
    this.#faultPoint('storage.collect.after-mounts');
    const removed = blobs.remove(digests);
    this.#faultPoint('storage.collect.after-hidden');
    await removed;
    this.#faultPoint('storage.collect.after-files');
    await images.collectGarbage();
    if (doomed.length > 0) {
      logger.info(
        { ...collected, images: dropped, missingBytes: bounds.missingBytes, durationMs: now() - begunMs },
        'storage.collected',
      );
    }
    return { ...collected, images: dropped };
  }

  #items(found: readonly BlobUse[]): readonly Item[] {
    const { images, mounts } = this.#parts;
    const inUse = mounts.digestsInUse();
    const layers = images.layers().map((use): Item => ({ ...use, layer: use.id }));
    const files = found.map((blob): Item => ({ ...blob, blob, depth: 0, held: inUse.has(blob.sha256Hex) }));
    return [...layers, ...files];
  }

  async #bounds() {
    const { dataDir, config, now } = this.#parts;
    const { cacheMaxDays, cacheMaxMiB, cacheMinFreeMiB, cacheProtectHours } = config;
    const { bavail, blocks, bsize } = await statfs(dataDir);
    const size = blocks * bsize;
    const free = cacheMinFreeMiB === 0 ? Math.min(size * FREE_SHARE, FREE_MOST_BYTES) : cacheMinFreeMiB * MIB;
    return {
      nowMs: now(),
      maxAgeMs: cacheMaxDays === 0 ? Infinity : cacheMaxDays * DAY_MS,
      protectMs: cacheProtectHours * HOUR_MS,
      maxBytes: cacheMaxMiB === 0 ? size * CACHE_SHARE : cacheMaxMiB * MIB,
      missingBytes: Math.max(0, free - bavail * bsize),
    };
  }
}

const total = (items: readonly Kept[]): number => items.reduce((sum, { bytes }) => sum + bytes, 0);
