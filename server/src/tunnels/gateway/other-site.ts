/**
 * Whether a request was made by a page that is not of this host and port. Browsers send cookies then as well, if the other is at another port of the host or
 * below the same domain, where the pages of other sandboxes are: a hostile one could act in the name of its visitor.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { RequestLine } from './request-line.ts';

export function isOfOtherSite({
  method,
  host,
  headers,
}: Pick<RequestLine, 'method' | 'host'> & { readonly headers: IncomingHttpHeaders }): boolean {
  // A link or a frame shows a page to its visitor, and nothing of it to who made the link.
  const shown = headers['sec-fetch-mode'] === 'navigate' && (method === 'GET' || method === 'HEAD');
  if (shown) return false;
  // https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header; `none` is what a user did by hand.
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  // Browsers without it, and websockets.
  const { origin } = headers;
  return origin !== undefined && hostOf(origin) !== hostOf(`http://${host}`);
}

/** Without the port that the scheme means. */
const hostOf = (url: string): string | undefined => (URL.canParse(url) ? new URL(url).host : undefined);
