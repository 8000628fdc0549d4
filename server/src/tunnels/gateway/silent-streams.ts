/** Streams of HTTP/2 over which nothing goes: each has a connection into the sandbox, and of these there are so many. */
import http2, { type ServerHttp2Stream } from 'node:http2';

const { NGHTTP2_CANCEL, NGHTTP2_STREAM_STATE_OPEN } = http2.constants;

export interface SilenceLimits {
  /** How long a request body may stand still while we are ready to read it. */
  readonly bodyIdleMs: number;
  /** How long nothing may go either way. */
  readonly idleMs: number;
}

/** Has the stream end when it is silent for too long. */
export function endWhenSilent(stream: ServerHttp2Stream, { bodyIdleMs, idleMs }: SilenceLimits): void {
  const end = () => stream.close(NGHTTP2_CANCEL);
  stream.setTimeout(Math.min(bodyIdleMs, idleMs), () => {
    if (isAwaited(stream)) return end();
    // As long as there was silence already more or less does not matter.
    stream.setTimeout(idleMs, end);
  });
}

/** Whether more of the request must come from the client, and could: what is not read yet is not held back by it. */
const isAwaited = (stream: ServerHttp2Stream): boolean =>
  stream.state.state === NGHTTP2_STREAM_STATE_OPEN && stream.readableLength < stream.readableHighWaterMark;
