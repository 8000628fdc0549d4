/** Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) whose data is JSON. */
import type { FetchAnswer } from '../../sdk/src/core/http.ts';
import { readLines } from '../../sdk/src/core/lines.ts';

export interface ServerSentEvent {
  readonly event: string;
  readonly data: unknown;
}

/** The events of a response in order; leaving the loop early closes the connection. Comments, which only keep it alive, are none. */
export async function* readServerSentEvents(response: FetchAnswer): AsyncGenerator<ServerSentEvent, void> {
  let event = 'message';
  let data: string[] = [];
  for await (const line of readLines(response)) {
    if (line.startsWith('event: ')) event = line.slice('event: '.length);
    else if (line.startsWith('data: ')) data.push(line.slice('data: '.length));
    else if (line === '') {
      if (data.length > 0) yield { event, data: JSON.parse(data.join('\n')) };
      event = 'message';
      data = [];
    }
  }
}
