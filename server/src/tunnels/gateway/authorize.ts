/** Whether a request may pass: its token must be good, and for this port of this sandbox. */
import type { IncomingHttpHeaders } from 'node:http';
import type { ConnectGrant, ConnectTokens } from '../../auth/connect-tokens.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import { findCredentials, TOKEN_NAME } from './credentials.ts';
import { isOfOtherSite } from './other-site.ts';
import type { RequestLine } from './request-line.ts';
import type { GatewayTarget } from './target.ts';

export interface Request extends RequestLine {
  readonly target: Pick<GatewayTarget, 'sandboxId' | 'port' | 'host'>;
  readonly tokens: Pick<ConnectTokens, 'verify'>;
  readonly headers: IncomingHttpHeaders;
  readonly encrypted: boolean;
  /** Where the client reached the gateway. */
  readonly localPort: number | undefined;
}

export interface Admitted {
  readonly grant: ConnectGrant;
  /** Values of Set-Cookie: a token that came in the query is one from then on. */
  readonly cookies: readonly string[];
}

/** A request with more is not a browser's. */
const MOST_COOKIES = 16;

/**
 * The query is believed before the header, and both before cookies, of which one must be good: a browser may have others of the same name.
 * @throws SkerryError `unauthenticated` without a token, or with a wrong or expired one; `permission-denied` for a token of something else, and for a cookie that a
 * page of another site makes use of
 */
export async function authorize(request: Request): Promise<Admitted> {
  const { target, tokens, headers } = request;
  const found = findCredentials(request.path, (name) => {
    const value = headers[name];
    return typeof value === 'string' ? value : undefined;
  });
  const named = found.query ?? found.bearer;
  const candidates = named === undefined ? found.cookies.slice(0, MOST_COOKIES) : [named];
  let refused = new SkerryError(
    'unauthenticated',
    `This port of a sandbox opens with a connect token only: in the header "Authorization: Bearer TOKEN", or in the query as ${TOKEN_NAME}.`,
  );
  if (named === undefined && candidates.length > 0 && isOfOtherSite(request)) {
    throw new SkerryError(
      'permission-denied',
      'A page of another site asks for this with the cookie of its visitor. It needs a connect token of its own.',
    );
  }
  for (const token of candidates) {
    try {
      const grant = belongs(await tokens.verify(token), target);
      return { grant, cookies: found.query === undefined ? [] : cookiesFor(request, token, grant) };
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      refused = error;
    }
  }
  throw refused;
}

function belongs(grant: ConnectGrant, target: Request['target']): ConnectGrant {
  if (grant.sandboxId === target.sandboxId && grant.port === target.port) return grant;
  throw new SkerryError(
    'permission-denied',
    grant.sandboxId === target.sandboxId
      ? `The connect token is for port ${grant.port} of the sandbox, and this is port ${target.port}.`
      : 'The connect token is for another sandbox.',
  );
}

/**
 * On a host of its own (whose name nobody guesses) the cookie also works in a frame of another site's page, kept apart for each such site; on one that is shared
 * with other ports it does not, and there is a second one that the others do not overwrite.
 */
function cookiesFor(
  { target, encrypted, localPort }: Request,
  token: string,
  { expiresAtMs }: ConnectGrant,
): string[] {
  const shared = target.host === 'shared';
  const framed = encrypted && !shared;
  const rest = [
    'Path=/',
    `Expires=${new Date(expiresAtMs).toUTCString()}`,
    'HttpOnly',
    ...(encrypted ? ['Secure'] : []),
    ...(framed ? ['SameSite=None', 'Partitioned'] : ['SameSite=Lax']),
  ].join('; ');
  const names = [TOKEN_NAME, ...(shared ? [`${TOKEN_NAME}_${localPort}`] : [])];
  return names.map((name) => `${name}=${token}; ${rest}`);
}
