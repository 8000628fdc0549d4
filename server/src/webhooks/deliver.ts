/** Sends one message to one address. */
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { lookupAmong, type RegistryReach } from '../images/bases/registry-reach.ts';

const TIMEOUT_MS = 10_000;

/** What came of a message: whether it arrived, or may when it is sent again, or never will. */
export type Delivery =
  | { readonly kind: 'arrived' }
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'refused'; readonly why: string };

/** Where a message goes. */
export interface Receiver {
  readonly url: URL;
  readonly reach: Pick<RegistryReach, 'addresses'>;
}

/** Never rejects. No redirect is followed: the operator named the address, and nobody else does. */
export async function deliver(
  { url, reach }: Receiver,
  headers: Readonly<Record<string, string>>,
  body: string,
  signal: AbortSignal,
): Promise<Delivery> {
  const whole = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    // The address that was judged is the one that is used, whatever a second look-up would say.
    const lookup = lookupAmong(await reach.addresses(url.hostname));
    const start = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = start(url, {
      ...{ method: 'POST', agent: false, signal: whole, lookup },
      headers: { ...headers, 'content-length': Buffer.byteLength(body) },
    });
    request.end(body);
    const [{ statusCode = 0 }] = (await once(request, 'response')) as [IncomingMessage]; // the event's argument
    request.on('error', () => {}).destroy(); // what else it says interests nobody
    if (statusCode >= 200 && statusCode < 300) return { kind: 'arrived' };
    const why = `HTTP status ${statusCode}`;
    const mayPass = statusCode >= 500 || statusCode === 408 || statusCode === 425 || statusCode === 429;
    return { kind: mayPass ? 'failed' : 'refused', why };
  } catch (error) {
    return { kind: 'failed', why: error instanceof Error ? error.message : String(error) };
  }
}
