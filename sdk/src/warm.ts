/** Sandboxes that wait for whoever asks next. The server makes them by itself after the first create of an image; these say it beforehand. */
import { type ConnectionOptions, connect } from './connection.ts';
import type { Options } from './process.ts';

/** Which sandboxes are to wait, how many and for how long. */
export interface WarmOptions extends ConnectionOptions, Options {
  /** How many are to wait, 1 by default. Others are made when they are taken. */
  readonly count?: number | undefined;
  /** For how long; an hour by default. */
  readonly forSeconds?: number | undefined;
  /** 'blocked' is for creates whose network is blocked, or has a list of domains. */
  readonly network?: 'open' | 'blocked' | undefined;
  readonly isolation?: 'gvisor' | 'runc' | undefined;
}

/** What became of a wish for some. */
export interface Warmed {
  readonly waiting: number;
  /** Why they are not as many as were wished for. */
  readonly bound?: 'pool' | 'memory';
}

/** Sandboxes that wait and are alike. */
export interface WarmKind {
  /** The image they are of. */
  readonly label: string;
  readonly runtime: 'gvisor' | 'runc';
  readonly memoryMiB: number;
  readonly milliCpu: number;
  readonly network: string;
  readonly waiting: number;
  readonly making: number;
  /** How many are to wait. */
  readonly wanted: number;
  /** Creates that were given one. */
  readonly hits: number;
  /** Creates that came when none was there. */
  readonly misses: number;
}

/** This is the machine's owner's to say, and served where the other calls of operators are. */
const PATH = '/skerry/v1/warm';

/**
 * Has sandboxes of an image wait, so that creates of it take milliseconds; resolves once they do. The image is fetched or built first. Needs the owner's token.
 * @throws PermissionDeniedError, NotFoundError (image), InvalidRequestError for more than may wait
 */
export function keepWarm(image: string, options: WarmOptions = {}): Promise<Warmed> {
  const { count = 1, forSeconds = 3600, network, isolation: runtime, signal, ...connection } = options;
  const json = { image, count, forMs: forSeconds * 1000, blockNetwork: network === 'blocked', runtime };
  return connect(connection).call('POST', PATH, { json, signal });
}

/** Which kinds of sandboxes wait. Needs the owner's token. */
export async function warmKinds(options: ConnectionOptions & Options = {}): Promise<WarmKind[]> {
  const { signal, ...connection } = options;
  return (await connect(connection).call<{ kinds: WarmKind[] }>('GET', PATH, { signal })).kinds;
}
