/**
 * What the SDK needs of `fetch`, on `node:http`. The command starts each time it is called, and to load Node's own `fetch` takes it longer than most of what it
 * asks for.
 */
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { buffer, json, text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { Fetch } from '../../../sdk/src/index.ts';

/** Follows no redirects. @throws errors of the connection, the signal's reason */
export const leanFetch: Fetch = async (url, { method, headers, body, signal }) => {
  const start = url.startsWith('https:') ? (await import('node:https')).request : httpRequest;
  const request = start(url, { method, headers, ...(signal && { signal }) });
  const answered = once(request, 'response') as Promise<[IncomingMessage]>; // the event's arguments
  answered.catch(() => {}); // awaited below
  if (body instanceof ReadableStream) {
    // A server that has its reasons answers before it has read all. The types of Node's streams of the web differ from the DOM's in name only.
    const sent = pipeline(Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]), request);
    await Promise.race([sent, answered]);
    sent.catch(() => {}); // the answer says more
  } else request.end(body instanceof Blob ? await body.bytes() : body);
  const [response] = await answered;
  const { statusCode: status = 0 } = response;
  return {
    ok: status >= 200 && status < 300,
    status,
    headers: {
      get: (name) => {
        const value = response.headers[name.toLowerCase()];
        return Array.isArray(value) ? value.join(', ') : (value ?? null);
      },
    },
    get body() {
      return Readable.toWeb(response) as ReadableStream<Uint8Array<ArrayBuffer>>; // as above
    },
    text: () => text(response),
    json: () => json(response),
    arrayBuffer: async () => {
      const { buffer: whole, byteOffset, byteLength } = await buffer(response);
      return (whole as ArrayBuffer).slice(byteOffset, byteOffset + byteLength); // Node makes no shared ones
    },
  };
};
