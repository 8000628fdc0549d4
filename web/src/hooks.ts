/** What pages share: where one is, and what is asked again and again while somebody looks. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { lines } from './session.ts';

/** The parts of the address behind the `#`, decoded: `#/sandboxes/sb-1/files` gives these three. */
export function useRoute(): readonly string[] {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const changed = () => setRoute(currentRoute());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}

function currentRoute(): readonly string[] {
  return halves()[0].replace(/^#\/?/, '').split('/').filter(Boolean).map(decoded);
}

/** Of the address behind the `#`: which page it is, and what of it is shown. */
function halves(): readonly [path: string, query: URLSearchParams] {
  const [path = '', query = ''] = location.hash.split('?', 2);
  return [path, new URLSearchParams(query)];
}

/** What of a page is shown, as its address says: `search` of `#/sandboxes?search=mine`. Empty where it says nothing. */
export function useQuery(name: string): readonly [string, (value: string) => void] {
  const current = () => halves()[1].get(name) ?? '';
  const [value, setValue] = useState(current);
  useEffect(() => {
    const changed = () => setValue(current());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, [name]);
  const change = (next: string) => {
    const [path, query] = halves();
    if (next === '') query.delete(name);
    else query.set(name, next);
    // Without a step back for each key.
    history.replaceState(null, '', `${path || '#/'}${query.size > 0 ? `?${query}` : ''}`);
    setValue(next);
  };
  return [value, change];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a page, from its parts. */
export const hrefOf = (...parts: readonly string[]): string => `#/${parts.map(encodeURIComponent).join('/')}`;

export interface Asked<T> {
  /** The last answer. */
  readonly value: T | undefined;
  /** Why there is no newer one. */
  readonly error: string | undefined;
  /** Asks now. */
  readonly again: () => void;
}

/**
 * Asks now, and again `everyMs` after each answer, as long as the page is looked at: a tab in the background asks nothing. Without `everyMs` it asks once.
 * @param key what it is asked about: another one is asked anew
 */
export function useAsked<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  key: string,
  everyMs?: number,
): Asked<T> {
  const [state, setState] = useState<Pick<Asked<T>, 'value' | 'error'>>({
    value: undefined,
    error: undefined,
  });
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  // The key stands for what is asked, the round below for its being asked again.
  useEffect(() => setState({ value: undefined, error: undefined }), [key]);
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const run = async () => {
      try {
        const value = await latest.current(stop.signal);
        if (!stop.signal.aborted) setState({ value, error: undefined });
      } catch (error) {
        if (!stop.signal.aborted) setState(({ value }) => ({ value, error: messageOf(error) }));
      }
      if (!stop.signal.aborted && everyMs !== undefined && !document.hidden) timer = setTimeout(run, everyMs);
    };
    const shown = () => {
      if (document.hidden || everyMs === undefined) return;
      clearTimeout(timer);
      void run();
    };
    document.addEventListener('visibilitychange', shown);
    void run();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
    };
  }, [key, everyMs, round]);
  const again = useCallback(() => setRound((before) => before + 1), []);
  return { ...state, again };
}

/** So long several that come together are waited for. */
const TOGETHER_MS = 150;
const RETRY_MS = 3_000;

/** Calls when something happened to sandboxes, as long as the page is looked at: a browser has six connections for a host, all tabs together. */
export function useEvents(happened: () => void): void {
  useEffect(() => {
    let stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const follow = async (signal: AbortSignal) => {
      while (!signal.aborted) {
        try {
          for await (const _ of lines('/v1/events', signal)) {
            clearTimeout(timer);
            timer = setTimeout(happened, TOGETHER_MS);
          }
        } catch {
          // The list itself tells what is wrong.
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    };
    const changed = () => {
      stop.abort();
      stop = new AbortController();
      if (!document.hidden) void follow(stop.signal);
    };
    changed();
    document.addEventListener('visibilitychange', changed);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', changed);
    };
  }, [happened]);
}

/** Work that a button starts. */
export interface Work {
  /** Whether it goes on. */
  readonly busy: boolean;
  /** What went wrong. */
  readonly failed: string | undefined;
  readonly start: (work: () => Promise<unknown>) => void;
}

export function useWork(): Work {
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<string>();
  const start = (work: () => Promise<unknown>) => {
    setBusy(true);
    setFailed(undefined);
    work()
      .catch((error: unknown) => setFailed(messageOf(error)))
      .finally(() => setBusy(false));
  };
  return { busy, failed, start };
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
