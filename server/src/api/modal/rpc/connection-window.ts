/**
 * A place for answers on a connection whose reader is slow. The Python client gives flow-control credit back only for what its program has read, also on
 * the connection; one stream of output that nobody reads would take the whole of it, and a `wait()` beside it would never get its answer.
 */
import type { Http2Session } from 'node:http2';
import { delay } from '../../../platform/wait.ts';

/** The part of the largest window seen that streams leave free. The clients open 64 MiB: 4 MiB stay, room for 16 streams' chunks on their way. */
const RESERVED_PART = 1 / 16;
const FIRST_LOOK_MS = 10;
const MAX_LOOK_MS = 250;

export class ConnectionWindows {
  readonly #largest = new WeakMap<Http2Session, number>();

  /** Waits until the connection can carry more than the reserve. Node tells nobody when credit arrives, so it looks, ever less often. */
  async roomForStream(session: Http2Session | undefined, signal: AbortSignal): Promise<void> {
    for (let look = FIRST_LOOK_MS; !this.#free(session); look = Math.min(look * 2, MAX_LOOK_MS)) {
      await delay(look, signal);
    }
  }

  #free(session: Http2Session | undefined): boolean {
    if (!session || session.destroyed) return true;
    const window = session.state.remoteWindowSize ?? 0;
    const largest = Math.max(window, this.#largest.get(session) ?? 0);
    this.#largest.set(session, largest);
    return window >= largest * RESERVED_PART;
  }
}
