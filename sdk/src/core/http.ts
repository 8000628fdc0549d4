/** Requests to one server, with one key. */
import {
  AuthenticationError,
  ConnectionError,
  errorOfAnswer,
  NotReadyError,
  notOurs,
  unreachable,
} from './errors.ts';
import type { Face } from './face.ts';
import { delay } from './wait.ts';

/** The part of `fetch` that is used; another can be given for tests or proxies. */
export type Fetch = (url: string, init: FetchRequest) => Promise<FetchAnswer>;

/** What a `Fetch` is asked to send. */
export interface FetchRequest {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: string | Uint8Array<ArrayBuffer> | Blob | ReadableStream<Uint8Array>;
  readonly signal?: AbortSignal;
  /** Said of a body that is a stream. */
  readonly duplex?: 'half';
}

/** The part of a `Response` that is used. */
export interface FetchAnswer
  extends Pick<Response, 'ok' | 'status' | 'body' | 'text' | 'json' | 'arrayBuffer'> {
  readonly headers: Pick<Headers, 'get'>;
}

/** While the server starts again, calls that may be repeated are; after so many tries in vain the error is the caller's. */
const MAX_TRIES = 6;
const FIRST_PAUSE_MS = 100;
const DEFAULT_URL = 'http://127.0.0.1:7423';

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is. */
  readonly body?: string | Uint8Array<ArrayBuffer> | Blob | ReadableStream<Uint8Array>;
  readonly signal?: AbortSignal | undefined;
  /** True = the same call twice is as good as once: it is repeated when the server cannot be reached. GET always is. */
  readonly repeatable?: boolean;
}

/** Where a package's caller says that the server is, and who it is; what it leaves open has defaults, but the token. */
export interface ServerOptions {
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  readonly fetch?: Fetch | undefined;
}

export class HttpClient {
  readonly face: Face;
  readonly #url: string;
  readonly #key: string;
  readonly #fetch: Fetch;

  /** `url` may end in a slash. */
  constructor(url: string, key: string, fetchWith: Fetch, face: Face) {
    this.face = face;
    this.#url = url.replace(/\/+$/, '');
    this.#key = key;
    this.#fetch = fetchWith;
  }

  /** @throws AuthenticationError when there is no token */
  static of({ url, token, fetch }: ServerOptions, face: Face): HttpClient {
    if (!token) {
      throw new AuthenticationError(
        {
          code: 'unauthenticated',
          message: 'There is no token.',
          suggestion: `Run \`eval "$(skerry env)"\`, set ${face.tokenVariable}, or pass { token }.`,
          retryable: false,
        },
        { status: 0 },
      );
    }
    // A browser's fetch insists on being called on its window.
    return new HttpClient(
      url || DEFAULT_URL,
      token,
      fetch ?? ((to, init) => globalThis.fetch(to, init)),
      face,
    );
  }

  /** With another key, at the same address unless another is given. */
  withKey(key: string, url = this.#url): HttpClient {
    return new HttpClient(url, key, this.#fetch, this.face);
  }

  /** @throws SkerryError for every answer that is not a good one, and when there is none; the signal's reason when aborted */
  async send(method: string, path: string, options: CallOptions = {}): Promise<FetchAnswer> {
    const repeatable = options.repeatable ?? method === 'GET';
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#sendOnce(method, path, options);
      } catch (error) {
        const mayPass =
          (error instanceof ConnectionError && error.retryable) ||
          (error instanceof NotReadyError && error.code === 'unavailable' && error.path === undefined);
        if (!repeatable || !mayPass || attempt === MAX_TRIES) throw error;
        await delay(FIRST_PAUSE_MS * 2 ** (attempt - 1), options.signal);
      }
    }
  }

  /** The JSON of a good answer; its type is the server's promise, which the server's own tests hold. */
  async call<Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const response = await this.send(method, path, options);
    try {
      return (await response.json()) as Answer;
    } catch (cause) {
      options.signal?.throwIfAborted();
      const body = notOurs(`${this.#url} gave an answer that is not JSON.`, this.face);
      throw new ConnectionError(body, { status: response.status, cause });
    }
  }

  async #sendOnce(method: string, path: string, options: CallOptions): Promise<FetchAnswer> {
    const url = `${this.#url}${path}${queryOf(options.query)}`;
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    const contentType = options.json === undefined ? 'application/octet-stream' : 'application/json';
    // Streams of requests have to be asked for, by an option that the DOM's types do not know.
    const streamed = body instanceof ReadableStream ? { duplex: 'half' as const } : {};
    let response: FetchAnswer;
    try {
      response = await this.#fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${this.#key}`,
          ...(body === undefined ? {} : { 'content-type': contentType }),
        },
        ...(body === undefined ? {} : { body }),
        ...(options.signal ? { signal: options.signal } : {}),
        ...streamed,
      });
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw unreachable(this.#url, cause, this.face);
    }
    if (!response.ok) {
      throw errorOfAnswer(url, response, await response.text().catch(() => ''), this.face);
    }
    return response;
  }
}

/** The pages of a list, each asked for when the one before was read. */
export async function* eachPage<Page extends { readonly nextCursor: string | null }>(
  http: HttpClient,
  path: string,
  options: Pick<CallOptions, 'query' | 'signal'>,
): AsyncGenerator<Page, void> {
  let cursor: string | undefined;
  do {
    const page = await http.call<Page>('GET', path, { ...options, query: { ...options.query, cursor } });
    yield page;
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
}

function queryOf(query: CallOptions['query'] = {}): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [value].flat().map((each) => [name, String(each)]),
  );
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
}
