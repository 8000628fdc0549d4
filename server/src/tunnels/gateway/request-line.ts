/** What a request asks for and of whom, told apart from what only looks like it. */

import { SkerryError } from '../../errors/skerry-error.ts';
import type { AnyRequest } from '../../transport/port.ts';

export interface RequestLine {
  readonly method: string;
  /** In origin form (RFC 9112, section 3.2.1), with the query: what a server that is no proxy expects. `*` for the whole server. */
  readonly path: string;
  /** As the client calls the server: `host[:port]`. */
  readonly host: string;
}

/** Host names and addresses with an optional port. */
const AUTHORITY = /^(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?$/;

/** Of all headers, characters. Node bounds those of HTTP/1.1 alone. */
const MAX_HEADERS = 32 << 10;

/** @throws SkerryError `invalid-argument`, `too-large` */
export function readRequestLine(request: AnyRequest): RequestLine {
  const method = request.method ?? '';
  const size = request.rawHeaders.reduce((sum, each) => sum + each.length, 0);
  if (size > MAX_HEADERS)
    throw new SkerryError('too-large', `The headers are longer than ${MAX_HEADERS} bytes.`);
  // The gateway would take the other codings off without knowing what to do with them.
  const coding = request.headers['transfer-encoding'];
  if (coding !== undefined && !/^chunked$/i.test(coding)) {
    throw invalid('The body has a transfer coding that is not taken: only "chunked" is.');
  }
  return { method, path: originForm(request.url ?? '', method), host: hostOf(request) };
}

function originForm(url: string, method: string): string {
  if (url.startsWith('/')) return url;
  if (url === '*' && method === 'OPTIONS') return url;
  const absolute = /^https?:\/\/[^/?#]*(.*)$/is.exec(url)?.[1];
  if (absolute === undefined) throw invalid('The request has no path.');
  return absolute.startsWith('/') ? absolute : `/${absolute}`;
}

function hostOf(request: AnyRequest): string {
  const names = hostFields(request.rawHeaders);
  const authority = 'authority' in request ? request.authority : undefined;
  const host = authority || names[0];
  if (names.length > 1 || host === undefined || !AUTHORITY.test(host)) {
    throw invalid('The request does not name one host.');
  }
  return host;
}

const hostFields = (headers: readonly string[]): string[] =>
  headers.filter((_value, at) => at % 2 === 1 && headers[at - 1]?.toLowerCase() === 'host');

const invalid = (message: string): SkerryError => new SkerryError('invalid-argument', message);
