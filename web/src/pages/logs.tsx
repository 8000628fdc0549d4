/** What a program of a sandbox writes, as it does. */
import { useState } from 'preact/hooks';
import { useFollowed } from '../hooks.ts';
import { appendText } from '../log-text.ts';
import { Failure } from '../parts.tsx';
import { sandboxOf } from '../sandbox-access.ts';

export function Logs({ id, process }: { id: string; process: string }) {
  const [end, setEnd] = useState<string>();
  const { place, failed } = useFollowed<HTMLPreElement>(async (into, signal) => {
    const pieces = (await sandboxOf(id)).process(process).follow('both', { signal });
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) return setEnd(`It ended with exit code ${value.exitCode}.`);
      appendText(into, decoders[value.stream].decode(value.bytes, { stream: true }), value.stream);
    }
  }, `${id} ${process}`);
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
