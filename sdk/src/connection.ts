/** Where the server is, and who we are. */
import { AuthenticationError } from './errors.ts';
import { type Fetch, HttpClient } from './http.ts';

const DEFAULT_URL = 'http://127.0.0.1:7423';

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
export function connect(options: ConnectionOptions): HttpClient {
  const pair = [environment('MODAL_TOKEN_ID'), environment('MODAL_TOKEN_SECRET')];
  const token =
    options.token || environment('SKERRY_TOKEN') || (pair.every(Boolean) ? pair.join(':') : undefined);
  if (!token) {
    throw new AuthenticationError(
      {
        code: 'unauthenticated',
        message: 'There is no token.',
        suggestion: 'Run `eval "$(skerry env)"`, set SKERRY_TOKEN, or pass { token }.',
        retryable: false,
      },
      { status: 0 },
    );
  }
  const url = options.url || environment('SKERRY_URL') || environment('MODAL_SERVER_URL') || DEFAULT_URL;
  // A browser's fetch insists on being called on its window.
  return new HttpClient(url, token, options.fetch ?? ((to, init) => globalThis.fetch(to, init)));
}

/** An environment variable; undefined in a browser. */
function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name];
}
