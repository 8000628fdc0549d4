/** Downloads from package registries: bounded, with progress, and checked while they come. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { SkerryError } from '../../errors/skerry-error.ts';

const ATTEMPTS = 3;
/** A line of progress at most this often. */
const PROGRESS_EVERY_MS = 3000;
/** Registry answers that list versions: npm's longest have some 20 MiB. */
const MAX_ANSWER = 64 << 20;

export interface Digest {
  readonly algorithm: 'sha256' | 'sha512';
  readonly hex: string;
}

export interface DownloadOptions {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  /** How long a registry may send nothing. */
  readonly timeoutMs: number;
}

/** The registry answered that it does not have it, or does not give it. */
export class Refused extends SkerryError {
  constructor(what: string, status: number) {
    super('image-build-failed', `${what} was refused with HTTP status ${status}`);
  }
}

/**
 * Writes what `url` gives to `file`. Without a digest the caller checks the content.
 * @throws SkerryError `image-build-failed` when it cannot be had, or is another than expected; `disk-full`
 */
export async function download(
  url: string,
  file: string,
  digest: Digest | undefined,
  maxBytes: number,
  options: DownloadOptions,
): Promise<void> {
  await withRetries(url, options, async (watch) => {
    const response = await request(url, {}, watch.signal);
    // The length of what a server compressed on the way is another.
    const isPlain = !response.headers.has('content-encoding');
    const announced = isPlain ? Number(response.headers.get('content-length') ?? 0) : 0;
    const total = announced > 0 ? ` of ${megabytes(announced)}` : '';
    options.say(`Downloading ${nameOf(url)}${announced > 0 ? ` (${megabytes(announced)})` : ''} ...`);
    const hash = createHash(digest?.algorithm ?? 'sha256');
    let received = 0;
    let saidAt = performance.now();
    const checked = async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        watch.alive();
        received += chunk.length;
        if (received > maxBytes)
          throw new SkerryError('image-build-failed', `${nameOf(url)} is larger than expected`);
        hash.update(chunk);
        if (performance.now() - saidAt > PROGRESS_EVERY_MS) {
          saidAt = performance.now();
          options.say(`${megabytes(received)}${total} of ${nameOf(url)}`);
        }
        yield chunk;
      }
    };
    await rm(file, { force: true });
    await pipeline(bodyOf(response), checked, createWriteStream(file, { mode: 0o600 }), {
      signal: watch.signal,
    });
    if (announced > 0 && received !== announced)
      throw new Error(`it ended after ${received} of ${announced} bytes`);
    const found = hash.digest('hex');
    if (digest && found !== digest.hex) {
      throw new SkerryError(
        'image-build-failed',
        `${nameOf(url)} is not what was expected: its ${digest.algorithm} is ${found}, not ${digest.hex}`,
      );
    }
  });
}

/** A small answer as text, with its media type. @throws SkerryError `image-build-failed` */
export async function fetchText(
  url: string,
  accept: string,
  options: DownloadOptions,
): Promise<{ readonly type: string; readonly text: string }> {
  return withRetries(url, options, async (watch) => {
    const response = await request(url, { accept }, watch.signal);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of bodyOf(response)) {
      watch.alive();
      size += chunk.length;
      if (size > MAX_ANSWER)
        throw new SkerryError('image-build-failed', `the answer of ${nameOf(url)} is too long`);
      chunks.push(chunk);
    }
    return {
      type: response.headers.get('content-type') ?? '',
      text: Buffer.concat(chunks).toString('utf8'),
    };
  });
}

/** `fetch` takes no credentials in a URL, the registries' own clients do. */
async function request(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
  const target = new URL(url);
  const { username, password } = target;
  target.username = '';
  target.password = '';
  const account = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const response = await fetch(target, {
    signal,
    headers: {
      ...headers,
      ...(username === '' ? {} : { authorization: `Basic ${Buffer.from(account).toString('base64')}` }),
    },
  });
  if (response.ok) return response;
  await response.body?.cancel();
  if (response.status >= 500 || response.status === 429) throw new Error(`HTTP status ${response.status}`);
  throw new Refused(nameOf(url), response.status);
}

// The stream types of the platform and of Node are told apart by name only.
const bodyOf = (response: Response): AsyncIterable<Buffer> =>
  response.body ? Readable.fromWeb(response.body as ReadableStream<Uint8Array>) : Readable.from([]);

interface Watch {
  readonly signal: AbortSignal;
  /** Data came: the time of silence starts anew. */
  alive(): void;
}

async function withRetries<T>(
  url: string,
  { signal, say, timeoutMs }: DownloadOptions,
  work: (watch: Watch) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const silence = new AbortController();
    const timer = setTimeout(
      () => silence.abort(new Error(`nothing came for ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    try {
      return await work({
        signal: AbortSignal.any([signal, silence.signal]),
        alive: () => void timer.refresh(),
      });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SkerryError) throw error;
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC')
        throw new SkerryError('disk-full', 'the machine is out of disk space', { cause: error });
      const why = reasonOf(silence.signal.aborted ? silence.signal.reason : error);
      if (attempt === ATTEMPTS)
        throw new SkerryError('image-build-failed', `${nameOf(url)} could not be fetched: ${why}`, {
          cause: error,
        });
      say(`${nameOf(url)}: ${why}; trying again.`);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What `fetch` throws says little; its cause does. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

/** The URL without credentials and query. */
function nameOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
