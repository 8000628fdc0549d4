/** Asks another server about sandboxes that it keeps (`peer-protocol.ts`). */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId } from '../ids.ts';
import { delay } from '../platform/wait.ts';
import type { Keeper } from '../sandboxes/keepers.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Usage } from '../sandboxes/sandboxes.ts';
import type { SandboxResult } from '../sandboxes/state.ts';
import { FORWARDED, forwardedHeader, WHOLE } from '../transport/forwarded.ts';
import type { Peer } from '../transport/peer-link.ts';
import { headersOf, type PeerSessions } from '../transport/peer-sessions.ts';
import { PEER_PREFIX, readEntry, readFailure, readResult, readUsage } from './peer-protocol.ts';

export interface PeerCallsParts {
  readonly sessions: PeerSessions;
  /** 32 bytes that all servers of one database have, and nobody else. */
  readonly key: Uint8Array;
  /** Where it listens now; undefined: it is gone, and somebody else keeps its sandboxes. */
  readonly peer: () => Peer | undefined;
}

const PAUSE_MS = 200;
const NEVER = new AbortController().signal;

export class PeerCalls implements Keeper {
  readonly #parts: PeerCallsParts;

  constructor(parts: PeerCallsParts) {
    this.#parts = parts;
  }

  async begin(id: SandboxId): Promise<void> {
    await this.#text('POST', `begin/${id}`, NEVER);
  }

  async terminate(id: SandboxId): Promise<void> {
    await this.#text('POST', `terminate/${id}`, NEVER);
  }

  async wait(id: SandboxId, timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined> {
    return readResult(await this.#text('GET', `wait/${id}?${Math.ceil(timeoutMs)}`, signal));
  }

  async usage(id: SandboxId, signal: AbortSignal): Promise<Usage | undefined> {
    return readUsage(await this.#text('GET', `usage/${id}`, signal));
  }

  async *read(
    id: SandboxId,
    name: 'stdout' | 'stderr',
    offset: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    for (let position = offset; ; ) {
      const { stream, isOver } = await this.#open('GET', `${name}/${id}?${position}`, signal);
      try {
        for await (const chunk of stream) {
          position += chunk.length;
          yield chunk;
        }
      } finally {
        stream.close(constants.NGHTTP2_CANCEL);
      }
      if (isOver()) return;
      await delay(PAUSE_MS, signal);
    }
  }

  async connect(id: SandboxId, port: number, signal: AbortSignal): Promise<Duplex> {
    return (await this.#open('POST', `connect/${id}?${port}`, signal, { hasBody: true })).stream;
  }

  /** What happens there from now on. @param onBegun nothing that happens from then on is missed @throws when it ends */
  async *life(onBegun: () => void, signal: AbortSignal): AsyncGenerator<LifeEntry> {
    const { stream } = await this.#open('GET', 'life', signal, { isOnce: true });
    for await (const line of createInterface({ input: stream })) {
      if (line === '') onBegun();
      else yield readEntry(line);
    }
    throw new SkerryError('unavailable', 'The other server has let go.');
  }

  /** The whole answer, however often it takes to have it: what is asked may be asked twice. */
  async #text(method: string, path: string, signal: AbortSignal): Promise<string> {
    for (;;) {
      const { stream, isOver } = await this.#open(method, path, signal);
      const text = await textOf(stream);
      if (isOver()) return text;
      await delay(PAUSE_MS, signal);
    }
  }

  /**
   * A call that is being answered. `isOver`: whether all of the answer came.
   * @throws what the server refuses it for; SkerryError `unavailable` once it is gone; the signal's reason
   */
  async #open(
    method: string,
    path: string,
    signal: AbortSignal,
    { hasBody = false, isOnce = false } = {},
  ): Promise<{ readonly stream: ClientHttp2Stream; readonly isOver: () => boolean }> {
    for (;;) {
      const peer = this.#parts.peer();
      if (!peer)
        throw new SkerryError('unavailable', 'The server that kept this sandbox is gone. Ask again.');
      try {
        return await this.#try(peer, method, path, hasBody, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (isOnce || (error instanceof SkerryError && error.code !== 'unavailable')) throw error;
      }
      await delay(PAUSE_MS, signal);
    }
  }

  async #try(peer: Peer, method: string, path: string, hasBody: boolean, signal: AbortSignal) {
    const stream = await this.#parts.sessions.request(
      peer,
      {
        ':method': method,
        ':path': `${PEER_PREFIX}/${path}`,
        [FORWARDED]: forwardedHeader(this.#parts.key, { encrypted: true }),
      },
      { endStream: !hasBody },
      signal,
    );
    stream.on('error', () => {}); // whoever waits for something of it hears of it
    const cancel = () => stream.destroy();
    signal.addEventListener('abort', cancel, { once: true });
    stream.once('close', () => signal.removeEventListener('abort', cancel));
    let isWhole = false;
    stream.once('trailers', (trailers: IncomingHttpHeaders) => {
      isWhole = trailers[WHOLE] !== undefined;
    });
    const headers = await headersOf(stream);
    if (headers[':status'] !== 200) throw readFailure(await textOf(stream));
    return { stream, isOver: () => isWhole };
  }
}

async function textOf(stream: ClientHttp2Stream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
