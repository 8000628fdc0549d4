/** What a program of a sandbox writes, as it does. */
import { Log } from '../log.tsx';
import { sandboxOf } from '../sandbox-access.ts';

export const Logs = ({ id, process }: { id: string; process: string }) => (
  <Log
    label="Output"
    follow={async (add, signal) => {
      const pieces = (await sandboxOf(id)).process(process).follow('both', { signal });
      const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) return `It ended with exit code ${value.exitCode}.`;
        add(decoders[value.stream].decode(value.bytes, { stream: true }), value.stream);
      }
    }}
  />
);
