/** Reading server-sent events. */

export interface ReceivedEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The events of a response, comments left out. */
export async function* readEvents(response: Response): AsyncIterable<ReceivedEvent> {
  if (!response.body) return;
  let buffer = '';
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    buffer += text;
    for (let end = buffer.indexOf('\n\n'); end >= 0; end = buffer.indexOf('\n\n')) {
      const fields = new Map(
        buffer
          .slice(0, end)
          .split('\n')
          .map((line): [string, string] => {
            const colon = line.indexOf(':');
            return [line.slice(0, colon), line.slice(colon + 2)];
          }),
      );
      buffer = buffer.slice(end + 2);
      const event = fields.get('event');
      if (event === undefined) continue;
      yield { event, id: fields.get('id'), data: JSON.parse(fields.get('data') ?? '{}') };
    }
  }
}
