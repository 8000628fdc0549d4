/** Answers that take their time: lines of JSON as things happen, or the bytes of a file. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { AnyResponse } from '../../transport/port.ts';

export class StreamedAnswer {
  readonly #type: string;
  readonly #pieces: AsyncIterable<Uint8Array | string>;

  constructor(type: string, pieces: AsyncIterable<Uint8Array | string>) {
    this.#type = type;
    this.#pieces = pieces;
  }

  /** One JSON object a line. */
  static lines(objects: AsyncIterable<object>): StreamedAnswer {
    return new StreamedAnswer('application/x-ndjson', jsonLines(objects));
  }

  /**
   * What is said while work goes on: one `{"say": line}` each, then `{"done": result}` or `{"error": ...}`, which is the last.
   * @param describe what is told of what the work threw
   */
  static progress(
    work: (say: (line: string) => void) => Promise<unknown>,
    describe: (thrown: unknown) => object,
  ): StreamedAnswer {
    return StreamedAnswer.lines(said(work, describe));
  }

  /** What fails before the first piece is thrown, what fails later cuts the connection. */
  async send(response: AnyResponse): Promise<void> {
    const pieces = this.#pieces[Symbol.asyncIterator]();
    const first = await pieces.next();
    response.statusCode = 200;
    response.setHeader('content-type', this.#type);
    response.setHeader('cache-control', 'no-store');
    const all = async function* () {
      try {
        for (let next = first; !next.done; next = await pieces.next()) yield next.value;
      } finally {
        await pieces.return?.();
      }
    };
    await pipeline(Readable.from(all(), { objectMode: false }), response).catch(() => response.destroy());
  }
}

async function* jsonLines(objects: AsyncIterable<object>): AsyncGenerator<string> {
  for await (const object of objects) yield `${JSON.stringify(object)}\n`;
}

async function* said(
  work: (say: (line: string) => void) => Promise<unknown>,
  describe: (thrown: unknown) => object,
): AsyncGenerator<object> {
  const waiting: object[] = [];
  let more = Promise.withResolvers<void>();
  let ended = false;
  const add = (object: object, isLast: boolean) => {
    waiting.push(object);
    ended ||= isLast;
    more.resolve();
  };
  void work((line) => add({ say: line }, false)).then(
    (done) => add({ done }, true),
    (thrown: unknown) => add({ error: describe(thrown) }, true),
  );
  while (!ended || waiting.length > 0) {
    await more.promise;
    more = Promise.withResolvers();
    // More may come while these are taken.
    yield* waiting.splice(0);
  }
}
