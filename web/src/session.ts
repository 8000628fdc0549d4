/**
 * Who is signed in, and requests as that. The server knows a session by two halves: a cookie that scripts cannot read, and a key that is kept here, in storage
 * of this origin alone (the server's `api/dashboard/sessions.ts` says why).
 */
import type { ConnectionOptions } from '../../sdk/src/index.ts';

const KEPT = 'skerry-session';
const KEY_HEADER = 'x-skerry-session';
const SESSION = '/dashboard/session';
const API = '/dashboard/api';

/** What the page knows of a session. */
interface Session {
  /** The page's half. */
  readonly key: string;
  readonly tokenId: string;
  readonly scope: 'read' | 'sandboxes' | 'admin';
}

/** Undefined where nobody is signed in. */
export function session(): Session | undefined {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? '') as Session; // as `signIn` keeps it
  } catch {
    return undefined;
  }
}

/** Whether who is signed in may do more than look. The server asks the token itself: this is for what is offered. */
export const mayChange = (): boolean => session()?.scope !== 'read';
export const isAdmin = (): boolean => session()?.scope === 'admin';

/** What is called when the server knows the session no more. */
let onSignedOut = () => {};
export const whenSignedOut = (listener: () => void): void => {
  onSignedOut = listener;
};

/** An answer that is no good one, in the server's words. */
export class AnswerError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** @throws AnswerError when it is none of the server's tokens */
export async function signIn(token: string): Promise<void> {
  localStorage.setItem(KEPT, JSON.stringify(await json<Session>('POST', SESSION, { token })));
}

export async function signOut(): Promise<void> {
  localStorage.removeItem(KEPT);
  await request(SESSION, { method: 'DELETE' }).catch(() => {}); // the half that is gone was enough
  onSignedOut();
}

/** A GET of one of the server's interfaces. @throws AnswerError */
export const get = <T>(path: string, signal?: AbortSignal): Promise<T> =>
  json<T>('GET', API + path, undefined, signal);

/** @throws AnswerError */
export const send = <T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body: object = {}): Promise<T> =>
  json<T>(method, API + path, method === 'DELETE' ? undefined : body);

/** An answer that goes on: one JSON object a line. @throws AnswerError */
export async function* lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T, void> {
  const response = await request(API + path, { signal });
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const found = (rest + value).split('\n');
    rest = found.pop() ?? '';
    // The shape is the server's promise; empty lines keep proxies from closing the stream.
    for (const line of found) if (line !== '') yield JSON.parse(line) as T;
  }
}

/** For the SDK: what it asks goes as this session. */
export const connection: ConnectionOptions = {
  url: `${location.origin}${API}`,
  token: 'this-session',
  fetch: (url, init) => {
    const headers = new Headers(init.headers);
    headers.delete('authorization');
    return raw(url, { ...init, headers });
  },
};

/** Has the browser download a file that a GET of one of the server's interfaces gives. @throws AnswerError */
export async function download(path: string, name: string): Promise<void> {
  const { url } = await json<{ url: string }>('POST', '/dashboard/downloads', { path, name });
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
}

async function json<T>(method: string, url: string, body?: object, signal?: AbortSignal): Promise<T> {
  const response = await request(url, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    ...(signal && { signal }),
  });
  return (await response.json()) as T; // the shape is the server's promise
}

async function request(url: string, init: RequestInit): Promise<Response> {
  const response = await raw(url, init);
  if (response.ok) return response;
  const answer: { error?: { message?: string; suggestion?: string } } = await response
    .json()
    .catch(() => ({}));
  const { message = `The server answered with status ${response.status}.`, suggestion = '' } =
    answer.error ?? {};
  throw new AnswerError(response.status, `${message} ${suggestion}`.trim());
}

async function raw(url: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = session()?.key;
  if (key !== undefined) headers.set(KEY_HEADER, key);
  const response = await fetch(url, { ...init, headers, credentials: 'same-origin' });
  // Another tab may have signed in anew meanwhile.
  if (response.status === 401 && key !== undefined && session()?.key === key) {
    localStorage.removeItem(KEPT);
    onSignedOut();
  }
  return response;
}
