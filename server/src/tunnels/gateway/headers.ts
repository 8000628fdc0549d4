/** Which headers pass between a client and the program in the sandbox. Those that are about one connection never do (RFC 9110, section 7.6.1). */
import { isTokenAuthorization, withoutTokenCookies, withoutTokenParameter } from './credentials.ts';

/**
 * What the maker of the token says about its user. "An unspoofable `X-Verified-User-Data` header":
 * https://modal.com/docs/guide/sandbox-networking#connecting-to-sandboxes-with-http-and-websockets
 */
export const USER_DATA_HEADER = 'x-verified-user-data';

/** Names and values in turn, as Node has raw headers. */
export type RawHeaders = readonly string[];
type Fields = [name: string, value: string][];

/** RFC 9110, section 7.6.1; `proxy-*` is between a client and its proxy. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Said anew by the gateway: what a client says of them is not to be believed. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  USER_DATA_HEADER,
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
]);

/** Answered by the gateway, or counted anew from what was understood. */
const REPLACED_FIELDS: ReadonlySet<string> = new Set(['host', 'expect', 'content-length', 'http2-settings']);

export interface Asked {
  /** From the client; in HTTP/2 with pseudo headers, which do not pass. */
  readonly headers: RawHeaders;
  /** What the client calls the server, `host[:port]`. */
  readonly host: string;
  readonly remoteAddress: string | undefined;
  readonly encrypted: boolean;
  /** Undefined when the token has none: then there is no such header. */
  readonly userMetadata: string | undefined;
}

/** The headers that the program gets, but for those of the body and of an upgrade. */
export function requestFields(asked: Asked): Fields {
  const named = connectionOptions(asked.headers);
  const fields: Fields = [['Host', asked.host]];
  const cookies: string[] = [];
  for (const [name, value] of pairs(asked.headers)) {
    const plain = canonical(name);
    if (name.startsWith(':') || named.has(name.toLowerCase())) continue;
    if (CONNECTION_FIELDS.has(plain) || OWN_FIELDS.has(plain) || REPLACED_FIELDS.has(plain)) continue;
    const kept = withoutToken(plain, value);
    if (kept === undefined) continue;
    if (plain === 'cookie') cookies.push(kept);
    else fields.push([name, kept]);
  }
  // HTTP/2 may have one field for each (RFC 9113, section 8.2.3), HTTP/1.1 has one for all.
  if (cookies.length > 0) fields.push(['Cookie', cookies.join('; ')]);
  fields.push(['X-Forwarded-Host', asked.host], ['X-Forwarded-Proto', asked.encrypted ? 'https' : 'http']);
  if (asked.remoteAddress) fields.push(['X-Forwarded-For', asked.remoteAddress.replace(/^::ffff:/, '')]);
  if (asked.userMetadata !== undefined) fields.push(['X-Verified-User-Data', utf8(asked.userMetadata)]);
  return fields;
}

/** The headers that the client gets, in names of small letters, as HTTP/2 wants them. */
export function responseFields(headers: RawHeaders): Map<string, string[]> {
  const named = connectionOptions(headers);
  const fields = new Map<string, string[]>();
  for (const [name, value] of pairs(headers)) {
    const lower = name.toLowerCase();
    if (CONNECTION_FIELDS.has(lower) || named.has(lower)) continue;
    const known = fields.get(lower);
    if (known) known.push(value);
    else fields.set(lower, [value]);
  }
  return fields;
}

function withoutToken(name: string, value: string): string | undefined {
  switch (name) {
    case 'authorization':
      return isTokenAuthorization(value) ? undefined : value;
    case 'cookie':
      return withoutTokenCookies(value);
    case 'referer': // of what a page loads that was opened with the token in its address
      return withoutTokenParameter(value);
    default:
      return value;
  }
}

/** Many servers hand headers on as variables, in which `-` and `_` are one: so neither spelling may come from outside. */
const canonical = (name: string): string => name.toLowerCase().replaceAll('_', '-');

/** What the sender says is about this connection only. */
function connectionOptions(headers: RawHeaders): ReadonlySet<string> {
  const named = pairs(headers)
    .filter(([name]) => name.toLowerCase() === 'connection')
    .flatMap(([, value]) => value.toLowerCase().split(','))
    .map((option) => option.trim());
  return new Set(named);
}

function pairs(headers: RawHeaders): Fields {
  const result: Fields = [];
  for (let at = 0; at + 1 < headers.length; at += 2) result.push([headers[at] ?? '', headers[at + 1] ?? '']);
  return result;
}

/** Node writes header values byte by character. */
const utf8 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
