/**
 * Where a request carries its connect token, and the request without it: the program in the sandbox never gets to see one, for it could use it or pass it on.
 *
 * "The token may be sent in an `Authorization` header, in a `_modal_connect_token` query param, or in a `_modal_connect_token` cookie."
 * https://modal.com/docs/guide/sandbox-networking#connecting-to-sandboxes-with-http-and-websockets
 */
import { isConnectToken } from '../../auth/connect-tokens.ts';

/** The name of the query parameter and of the cookie. */
export const TOKEN_NAME = '_modal_connect_token';

/** What was found: tokens in the order in which they are to be believed. */
export interface Credentials {
  /** In the query: whoever opens a link means what it says. Undefined without one. */
  readonly query: string | undefined;
  /** In `Authorization`, when it is a connect token; other bearer tokens are the program's own business. */
  readonly bearer: string | undefined;
  /** A browser may have some, also of other sandboxes: cookies are not told apart by port. */
  readonly cookies: readonly string[];
}

/** `path` is what a request line has: `/path?query`. */
export function findCredentials(path: string, header: (name: string) => string | undefined): Credentials {
  const bearer = bearerOf(header('authorization'));
  return {
    query: parameters(queryOf(path)).find(isTokenParameter)?.value,
    bearer: bearer !== undefined && isConnectToken(bearer) ? bearer : undefined,
    cookies: cookiesOf(header('cookie')).flatMap(({ name, value }) => (isTokenCookie(name) ? [value] : [])),
  };
}

/** A path, or the URL of a Referer, without the token; everything else stays as it is, byte for byte. */
export function withoutTokenParameter(url: string): string {
  const start = url.indexOf('?');
  if (start < 0) return url;
  const fragment = url.indexOf('#', start);
  const end = fragment < 0 ? url.length : fragment;
  const query = url.slice(start + 1, end);
  const kept = parameters(query).filter((each) => !isTokenParameter(each));
  if (kept.length === parameters(query).length) return url;
  const rest = kept.map(({ text }) => text).join('&');
  return url.slice(0, start) + (rest && `?${rest}`) + url.slice(end);
}

/** A Cookie header without ours; undefined when nothing is left. */
export function withoutTokenCookies(header: string): string | undefined {
  const kept = cookiesOf(header).filter(({ name }) => !isTokenCookie(name));
  return kept.length === 0 ? undefined : kept.map(({ text }) => text).join('; ');
}

/** Whether an Authorization header carries a connect token. */
export function isTokenAuthorization(header: string): boolean {
  const bearer = bearerOf(header);
  return bearer !== undefined && isConnectToken(bearer);
}

interface Parameter {
  readonly name: string;
  readonly value: string;
  /** As it was sent. */
  readonly text: string;
}

const queryOf = (path: string): string => {
  const start = path.indexOf('?');
  return start < 0 ? '' : path.slice(start + 1);
};

const parameters = (query: string): Parameter[] =>
  query.split('&').map((text) => {
    const equals = text.indexOf('=');
    const [name, value] = equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
    return { name: decoded(name), value: decoded(value), text };
  });

const isTokenParameter = ({ name }: Parameter): boolean => name === TOKEN_NAME;
/** Those of all ports of a host: the name of a port's own begins like this. */
const isTokenCookie = (name: string): boolean => name.startsWith(TOKEN_NAME);

/** As the program in the sandbox would read it. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

const bearerOf = (header: string | undefined): string | undefined =>
  /^bearer\s+(\S+)\s*$/i.exec(header ?? '')?.[1];

/** RFC 6265, section 4.2.1, taken as widely as servers do. */
function cookiesOf(header: string | undefined): Parameter[] {
  if (!header) return [];
  return header
    .split(';')
    .map((each) => each.trim())
    .filter((text) => text !== '')
    .map((text) => {
      const equals = text.indexOf('=');
      const name = equals < 0 ? text : text.slice(0, equals).trim();
      const value = equals < 0 ? '' : text.slice(equals + 1).trim();
      return { name, value: value.replace(/^"(.*)"$/, '$1'), text };
    });
}
