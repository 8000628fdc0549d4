/** What a process was sent over a connection to the agent that may break under it: it arrives, and each signal once. */
import type { ProcessChannel } from '../agent/process-channel.ts';
import type { PtySize } from './spec.ts';

/** Of more than this over one connection, the oldest are taken to have arrived. */
const MAX_KEPT = 64;

interface Signal {
  readonly signal: number;
  readonly scope: 'process' | 'family';
}

export class SentSignals {
  /** Those sent over the connection there is, the latest last, and how many came before them. */
  #sent: Signal[] = [];
  #before = 0;
  #size: PtySize | undefined;

  send(channel: ProcessChannel, signal: number, scope: Signal['scope']): void {
    channel.signal(signal, scope);
    this.#sent.push({ signal, scope });
    if (this.#sent.length <= MAX_KEPT) return;
    this.#sent.shift();
    this.#before++;
  }

  resize(channel: ProcessChannel, size: PtySize): void {
    channel.resize(size.rows, size.cols);
    this.#size = size;
  }

  /** A connection takes the place of the one before: sends again what did not arrive over that. */
  moveTo(channel: ProcessChannel): void {
    // An agent of an earlier version does not tell what arrived: nothing is sent twice.
    const arrived = channel.signalsTaken ?? this.#before + this.#sent.length;
    const lost = this.#sent.slice(Math.max(0, arrived - this.#before));
    this.#before = arrived;
    this.#sent = [];
    for (const { signal, scope } of lost) this.send(channel, signal, scope);
    if (this.#size) this.resize(channel, this.#size); // a size that it has already changes nothing
  }
}
