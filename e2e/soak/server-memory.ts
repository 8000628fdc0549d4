/**
 * What the memory of a server is made of, asked over its inspector after forced collections: what is live is told from what is only not freed yet.
 */
import { z } from 'zod';
import { delay } from '../../server/src/platform/wait.ts';
import type { TestServer } from '../support/server.ts';

/** A server with this in its environment opens its inspector, on a port that is free, when `inspectServer` asks it to. */
export const INSPECTABLE = { NODE_OPTIONS: '--inspect-port=0' };

/** In bytes, right after a collection. */
export interface LiveMemory {
  /** Objects of JavaScript. */
  readonly heap: number;
  /** Buffers and what else objects of JavaScript hold outside of the heap. */
  readonly external: number;
  /** What the kernel has given the process, the program's own code and SQLite included. */
  readonly resident: number;
}

export interface Inspector {
  /** Has the server collect its garbage and says what is left. */
  collect(): Promise<LiveMemory>;
  close(): void;
}

const OPEN_TIMEOUT_MS = 10_000;
/** What a collection finds dead may hold something that only the next one can free. */
const COLLECTIONS = 3;

const answerSchema = z.object({
  id: z.number().optional(),
  result: z.unknown().optional(),
  error: z.unknown().optional(),
});
const usageSchema = z.object({
  result: z.object({ value: z.object({ heapUsed: z.number(), external: z.number(), rss: z.number() }) }),
});

/** @throws when the server was not started with `INSPECTABLE` */
export async function inspectServer(server: TestServer): Promise<Inspector> {
  process.kill(server.pid, 'SIGUSR1'); // https://nodejs.org/api/process.html#signal-events
  const socket = new WebSocket(await inspectorUrl(server));
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error('the server’s inspector cannot be reached'));
  });
  const waiting = new Map<number, (answer: z.infer<typeof answerSchema>) => void>();
  socket.onmessage = ({ data }) => {
    const answer = answerSchema.parse(JSON.parse(String(data)));
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer);
  };
  let calls = 0;
  const call = (method: string, params: object = {}) =>
    new Promise<unknown>((resolve, reject) => {
      const id = ++calls;
      waiting.set(id, ({ result, error }) => {
        waiting.delete(id);
        if (error === undefined) resolve(result);
        else reject(new Error(`${method}: ${JSON.stringify(error)}`));
      });
      socket.send(JSON.stringify({ id, method, params }));
    });
  return {
    collect: async () => {
      for (let i = 0; i < COLLECTIONS; i++) await call('HeapProfiler.collectGarbage');
      const usage = await call('Runtime.evaluate', {
        expression: 'process.memoryUsage()',
        returnByValue: true,
      });
      const { heapUsed, external, rss } = usageSchema.parse(usage).result.value;
      return { heap: heapUsed, external, resident: rss };
    },
    close: () => socket.close(),
  };
}

async function inspectorUrl(server: TestServer): Promise<string> {
  const deadline = performance.now() + OPEN_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const url = /^Debugger listening on (ws:\S+)/m.exec(server.log())?.[1];
    if (url) return url;
    await delay(50);
  }
  throw new Error('the server opened no inspector');
}
