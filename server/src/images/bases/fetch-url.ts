/** Fetches the file of `ADD URL`. The URL is the caller's choice: neither it nor what answers there may lead where images may not come from. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import { withinRoom } from '../../platform/room-watch.ts';
import { clip } from '../../platform/text.ts';
import { AddressRefused, lookupAmong, type RegistryReach } from './registry-reach.ts';

const MAX_REDIRECTS = 10;
const TRANSFER_TIMEOUT_MS = 30 * 60_000;

export interface UrlFetch {
  readonly reach: RegistryReach;
  readonly maxBytes: number;
  /** What the file may fill of the disk. */
  readonly room: MachineRoom;
  /** How long a server may send nothing. */
  readonly timeoutMs: number;
}

/**
 * Writes what the URL gives to a new file.
 * @param checksum `sha256:<hex>` that it must have
 * @returns the one that it has
 * @throws SkerryError `image-build-failed` when it cannot be had or is another, `disk-full`
 */
export async function fetchUrl(
  url: string,
  file: string,
  checksum: string | undefined,
  signal: AbortSignal,
  { reach, maxBytes, room, timeoutMs }: UrlFetch,
): Promise<string> {
  const failed = (why: string) => new SkerryError('image-build-failed', `${clip(url)}: ${why}`);
  try {
    return await withinRoom({ room, signal }, async (roomSignal) => {
      const whole = AbortSignal.any([roomSignal, AbortSignal.timeout(TRANSFER_TIMEOUT_MS)]);
      const response = await follow(url, reach, timeoutMs, whole);
      response.setTimeout(timeoutMs, () => response.destroy(new Error('it sends nothing any more')));
      const hash = createHash('sha256');
      let bytes = 0;
      const bounded = async function* (pieces: AsyncIterable<Buffer>) {
        for await (const piece of pieces) {
          bytes += piece.length;
          if (bytes > maxBytes) throw failed(`it has more than ${maxBytes / 2 ** 20} MiB (buildDiskMiB)`);
          hash.update(piece);
          yield piece;
        }
      };
      await pipeline(response, bounded, createWriteStream(file, { mode: 0o600, flags: 'wx' }), {
        signal: whole,
      });
      const digest = `sha256:${hash.digest('hex')}`;
      if (checksum !== undefined && digest !== checksum)
        throw failed(`its checksum is ${digest}, not ${checksum}`);
      return digest;
    });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SkerryError) throw error;
    throw failed(error instanceof Error ? error.message : String(error));
  }
}

/** The answer that has the file, after redirects, each of which is looked at as the first address is. */
async function follow(
  first: string,
  reach: RegistryReach,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  let url = new URL(first);
  for (let count = 0; count <= MAX_REDIRECTS; count++) {
    const response = await get(url, reach, timeoutMs, signal);
    const { statusCode = 0, headers } = response;
    if (statusCode === 200) return response;
    response.destroy();
    if (![301, 302, 303, 307, 308].includes(statusCode) || headers.location === undefined)
      throw new Error(`the server answered with HTTP status ${statusCode}`);
    url = new URL(headers.location, url);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Error(`it leads to ${url.protocol}`);
  }
  throw new Error(`it leads on more than ${MAX_REDIRECTS} times`);
}

async function get(
  url: URL,
  reach: RegistryReach,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  // The address that was judged is the one that is used, whatever a second look-up would say; an address in the URL is never looked up.
  const options = reach.trusts(url.host)
    ? {}
    : { lookup: lookupAmong(await reach.addresses(url.hostname).catch(inWords)) };
  const start = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const request = start(url, {
    ...options,
    agent: false,
    signal,
    headers: { accept: '*/*', 'user-agent': 'skerry' },
  });
  request.setTimeout(timeoutMs, () => request.destroy(new Error('the server does not answer')));
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage]; // the event's argument
  request.on('error', () => {}); // the response has it too
  return response;
}

function inWords(error: unknown): never {
  if (!(error instanceof AddressRefused)) throw error;
  throw new Error(error.message.replace('images come from others', 'files come from others'), {
    cause: error,
  });
}
