/** `FileIO.watch` of older clients: the helper's lines, in the form they expect. */
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { z } from 'zod';
import type { SandboxFiles } from '../../../../sandboxes/files.ts';
import type { Process } from '../../../../sandboxes/sandboxes.ts';
import type { Answer } from './file-sessions.ts';

/** A watch that nobody reads is ended after this long; a client that lost its connection is back much sooner. */
const ABANDONED_MS = 60_000;
const eventSchema = z.object({ event_type: z.string(), paths: z.array(z.string()) });

export function watchAnswer(files: SandboxFiles, path: string, process: Process): Answer {
  /** Bytes of the helper's output that were sent as whole events. */
  let sent = 0;
  let abandoned: NodeJS.Timeout | undefined;
  const stop = () => void process.kill(9, 'group').catch(() => {}); // it ended by itself, or its sandbox did
  return {
    async *chunks(signal) {
      clearTimeout(abandoned);
      try {
        const source = Readable.from(process.stdout.read(sent, signal));
        for await (const line of createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY })) {
          const event = toEvent(line);
          if (event) yield event;
          sent += Buffer.byteLength(line) + 1;
        }
        await files.finish(process, path, signal);
      } finally {
        if (!process.exit) abandoned = setTimeout(stop, ABANDONED_MS).unref();
      }
    },
    dispose: stop,
  };
}

/** An event ends with two newlines, and the kinds of rename are Modify. Undefined for what is no event. */
function toEvent(line: string): Uint8Array | undefined {
  try {
    const event = eventSchema.parse(JSON.parse(line));
    const type = event.event_type.startsWith('Rename') ? 'Modify' : event.event_type;
    return Buffer.from(`${JSON.stringify({ event_type: type, paths: event.paths })}\n\n`);
  } catch {
    return undefined;
  }
}
