/** A shell in a sandbox. What draws it is loaded when the first one is opened. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { messageOf } from '../hooks.ts';
import { Failure } from '../parts.tsx';

export function Terminal({ id }: { id: string }) {
  const place = useRef<HTMLDivElement>(null);
  const way = useRef<HTMLButtonElement>(null);
  const [round, setRound] = useState(0);
  const [readAloud, setReadAloud] = useState(false);
  const [end, setEnd] = useState<string>();
  const [failed, setFailed] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    setEnd(undefined);
    setFailed(undefined);
    const run = async (into: HTMLElement) => {
      const { runShell } = await import('../shell.ts');
      const exitCode = await runShell(id, into, {
        signal: stop.signal,
        readAloud,
        leave: () => way.current?.focus(),
      });
      if (!stop.signal.aborted) setEnd(`The shell ended with exit code ${exitCode}.`);
    };
    if (place.current) {
      run(place.current).catch((error: unknown) => {
        if (!stop.signal.aborted) setFailed(messageOf(error));
      });
    }
    return () => stop.abort();
  }, [id, round, readAloud]);
  return (
    <>
      <div class="tools">
        <button type="button" ref={way} onClick={() => setRound(round + 1)}>
          New shell
        </button>
        <label>
          <input
            type="checkbox"
            checked={readAloud}
            onChange={(event) => setReadAloud(event.currentTarget.checked)}
          />{' '}
          for screen readers
        </label>
        <span class="quiet">
          Every key goes to the shell; Shift+Esc leaves it. It ends when you go elsewhere.
        </span>
      </div>
      <Failure of={failed} />
      <p role="status">{end}</p>
      <section class="shell" aria-label="Terminal" ref={place} />
    </>
  );
}
