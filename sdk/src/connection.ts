/** Where the server is, and who we are. */
import { environment } from './core/environment.ts';
import type { Face } from './core/face.ts';
import { type Fetch, HttpClient } from './core/http.ts';

const skerry: Face = {
  product: 'Skerry',
  urlOption: 'url',
  urlVariable: 'SKERRY_URL',
  tokenVariable: 'SKERRY_TOKEN',
};

/** Which server is called, and as whom. */
export interface ConnectionOptions {
  /** Where the server is. Default: SKERRY_URL, then MODAL_SERVER_URL as `skerry env` sets it, then http://127.0.0.1:7423. */
  readonly url?: string | undefined;
  /** `<id>:<secret>`, or a sandbox's own key where only that one is used. Default: SKERRY_TOKEN, then what `skerry env` sets. */
  readonly token?: string | undefined;
  /** Used instead of the global `fetch`. */
  readonly fetch?: Fetch | undefined;
}

/** @throws AuthenticationError when there is no token */
export function connect({ url, token, fetch }: ConnectionOptions): HttpClient {
  const pair = [environment('MODAL_TOKEN_ID'), environment('MODAL_TOKEN_SECRET')];
  const server = {
    url: url || environment('SKERRY_URL') || environment('MODAL_SERVER_URL'),
    token: token || environment('SKERRY_TOKEN') || (pair.every(Boolean) ? pair.join(':') : undefined),
    fetch,
  };
  return HttpClient.of(server, skerry);
}
