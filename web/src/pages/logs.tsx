/** What the main program of a sandbox writes, as it does. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { messageOf } from '../hooks.ts';
import { appendText } from '../log-text.ts';
import { Failure } from '../parts.tsx';
import { sandboxOf } from '../sandbox-access.ts';

export function Logs({ id }: { id: string }) {
  const place = useRef<HTMLPreElement>(null);
  const [end, setEnd] = useState<string>();
  const [failed, setFailed] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    const follow = async (into: HTMLPreElement) => {
      const pieces = (await sandboxOf(id)).entrypoint.follow('both', { signal: stop.signal });
      const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) return setEnd(`It ended with exit code ${value.exitCode}.`);
        appendText(into, decoders[value.stream].decode(value.bytes, { stream: true }), value.stream);
      }
    };
    if (place.current) {
      follow(place.current).catch((error: unknown) => {
        if (!stop.signal.aborted) setFailed(messageOf(error));
      });
    }
    return () => stop.abort();
  }, [id]);
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <pre ref={place} class="log" role="log" aria-label="Output" tabIndex={0} />
      <p role="status" class="quiet">
        {end}
      </p>
      <Failure of={failed} />
    </>
  );
}
