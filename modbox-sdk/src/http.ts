/** Requests to one server, with one key. */
import { ConnectionError, errorOfAnswer, notModbox } from './errors.ts';

/** The part of `fetch` that is used; another can be given for tests or proxies. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is. */
  readonly bytes?: Uint8Array<ArrayBuffer> | string | Blob;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

export class HttpClient {
  readonly #baseUrl: string;
  readonly #key: string;
  readonly #fetch: Fetch;

  /** `baseUrl` may end in a slash. */
  constructor(baseUrl: string, key: string, fetchWith: Fetch) {
    this.#baseUrl = baseUrl.replace(/\/+$/, '');
    this.#key = key;
    this.#fetch = fetchWith;
  }

  /** @throws ModboxError for every answer that is not a good one, and when there is none; the signal's reason when aborted */
  async send(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const url = `${this.#baseUrl}${path}${queryOf(options.query)}`;
    const body = options.json === undefined ? options.bytes : JSON.stringify(options.json);
    const contentType = options.json === undefined ? 'application/octet-stream' : 'application/json';
    let response: Response;
    try {
      response = await this.#fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${this.#key}`,
          ...(body === undefined ? {} : { 'content-type': contentType }),
          ...options.headers,
        },
        ...(body === undefined ? {} : { body }),
        ...(options.signal ? { signal: options.signal } : {}),
      });
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw new ConnectionError(
        {
          code: 'unreachable',
          message: `${this.#baseUrl} cannot be reached.`,
          suggestion: 'Start the server (`skerry up`), or set MODBOX_API_URL or baseUrl to where it is.',
          retryable: true,
        },
        { status: 0, cause },
      );
    }
    if (!response.ok) throw errorOfAnswer(url, response, await response.text());
    return response;
  }

  /** The JSON of a good answer; its type is the server's promise, which the server's own tests hold. */
  async call<Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const response = await this.send(method, path, options);
    try {
      return (await response.json()) as Answer;
    } catch (cause) {
      options.signal?.throwIfAborted();
      const body = notModbox(`${this.#baseUrl} gave an answer that is not JSON.`);
      throw new ConnectionError(body, { status: response.status, cause });
    }
  }
}

function queryOf(query: CallOptions['query'] = {}): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  );
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
}
