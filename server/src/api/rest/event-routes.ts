/** What happened to a sandbox, and what happens to all of them. */
import type { LifeEntry } from '../../sandboxes/life-log.ts';
import { hangUpSignal } from '../http/event-stream.ts';
import { LiveAnswer } from '../http/live-answer.ts';
import {
  answers,
  content,
  type HttpApp,
  openSandbox,
  type RouteParts,
  sandboxParams,
} from '../http/routes.ts';
import { lifeEvent, sandboxEvents } from './schemas.ts';

/** Where the edges of sandboxes' lives are heard of. */
export interface LifeEvents {
  /** Until the returned function is called. */
  follow(follower: (entry: LifeEntry) => void): () => void;
}

const LINES_TYPE = 'application/x-ndjson';
/** A reader who is so far behind is cut off, and looks at the list of sandboxes anew. */
const MAX_WAITING = 10_000;

export function eventRoutes(app: HttpApp, parts: RouteParts): void {
  app.get(
    '/events',
    {
      schema: {
        tags: ['Events'],
        security: [{ sandboxKey: [] }],
        operationId: 'listEvents',
        summary:
          'What Skerry itself has to say about it, oldest first: bounds that were hit, what it reached when that is audited, why it ended.',
        params: sandboxParams,
        response: answers({ 200: sandboxEvents }, 404),
      },
    },
    async (request, reply) => {
      const { sandbox } = openSandbox(parts, request, reply);
      const events = sandbox
        .events()
        .map(({ timeMs, kind, text }) => ({ time: new Date(timeMs).toISOString(), kind, text }));
      return { events };
    },
  );
}

export function lifeRoutes(app: HttpApp, parts: RouteParts, life: LifeEvents): void {
  app.get(
    '/events',
    {
      schema: {
        tags: ['Events'],
        security: [{ apiToken: [] }],
        operationId: 'followEvents',
        summary: 'What happens to sandboxes from now on, a line of JSON each. Empty lines say nothing.',
        response: answers({ 200: content(LINES_TYPE, lifeEvent, 'Lines.') }),
      },
    },
    async (_request, reply) => {
      const signal = hangUpSignal(reply, parts.closing);
      const lines = new LiveAnswer(reply, signal, { contentType: LINES_TYPE, nothing: '\n' });
      const waiting: LifeEntry[] = [];
      let wake = Promise.withResolvers<void>();
      const unfollow = life.follow((entry) => {
        if (entry.sidecarOf === undefined) waiting.push(entry);
        wake.resolve();
      });
      signal.addEventListener('abort', () => wake.resolve(), { once: true });
      lines.begin();
      try {
        while (!signal.aborted && waiting.length <= MAX_WAITING) {
          const entry = waiting.shift();
          if (entry) {
            await lines.send(`${JSON.stringify(lineOf(entry))}\n`);
            continue;
          }
          await wake.promise;
          wake = Promise.withResolvers<void>();
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        unfollow();
        lines.end();
      }
    },
  );
}

const lineOf = ({ sandboxId, timeMs, kind, result }: LifeEntry) =>
  lifeEvent.parse({
    sandboxId,
    time: new Date(timeMs).toISOString(),
    kind,
    reason: result?.kind ?? null,
  });
