/** Standard input of a process: sends within the window, tells each writer when its bytes were taken. */
import { SkerryError } from '../errors/skerry-error.ts';
import { encode, WINDOW_BYTES } from './frames.ts';
import { protocolError } from './messages.ts';

const CHUNK_BYTES = 64 * 1024;

interface Piece {
  readonly offset: number;
  readonly data: Uint8Array;
}

interface Waiter {
  /** Resolved once this many bytes were accepted. */
  readonly end: number;
  readonly resolve: () => void;
  readonly reject: (error: SkerryError) => void;
}

const closedError = () =>
  new SkerryError('stdin-closed', 'The process does not read its standard input any more.');

export class StdinWriter {
  readonly #send: (...parts: Uint8Array[]) => void;
  #accepted: number;
  #sent: number;
  #end: number;
  #closed: boolean;
  #eof: 'open' | 'wanted' | 'sent' = 'open';
  #pieces: Piece[] = [];
  #waiters: Waiter[] = [];
  #closeWaiters: Waiter[] = [];
  #lost: (() => SkerryError) | undefined;

  /** `send` sends a frame that is given in parts; they must not be changed afterwards. */
  constructor(send: (...parts: Uint8Array[]) => void, accepted: number, closed: boolean) {
    this.#send = send;
    this.#accepted = accepted;
    this.#sent = accepted;
    this.#end = accepted;
    this.#closed = closed;
  }

  /** Bytes the process has taken. */
  get accepted(): number {
    return this.#accepted;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** See `ProcessChannel.writeStdin`. */
  write(offset: number, data: Uint8Array): Promise<void> {
    const end = offset + data.length;
    if (this.#lost) return Promise.reject(this.#lost());
    if (end <= this.#accepted) return Promise.resolve();
    // Bytes that were handed over before the end are still to come.
    if (this.#closed || (this.#eof !== 'open' && end > this.#end)) return Promise.reject(closedError());
    if (offset > this.#end) {
      const message = `Standard input goes on at ${offset}, but only ${this.#end} bytes came before.`;
      return Promise.reject(new SkerryError('invalid-argument', message));
    }
    if (end > this.#end) {
      this.#pieces.push({ offset: this.#end, data: data.subarray(this.#end - offset) });
      this.#end = end;
      this.#fill();
    }
    return new Promise((resolve, reject) => this.#waiters.push({ end, resolve, reject }));
  }

  /** Closes standard input after everything written. Resolves when the process has got the end. Idempotent. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#lost) return Promise.reject(this.#lost());
    if (this.#eof === 'open') this.#eof = 'wanted';
    this.#fill();
    return new Promise((resolve, reject) => this.#closeWaiters.push({ end: 0, resolve, reject }));
  }

  /** STDIN_ACK came. @throws SkerryError when the count goes back. */
  acknowledge(accepted: number, closed: boolean): void {
    if (accepted < this.#accepted) throw protocolError('the accepted count of stdin goes back');
    // More than was sent here is fine: the agent may have had bytes from a connection before this one.
    this.#accepted = accepted;
    this.#sent = Math.max(this.#sent, accepted);
    this.#end = Math.max(this.#end, accepted);
    const done = this.#waiters.filter((waiter) => waiter.end <= accepted);
    this.#waiters = this.#waiters.filter((waiter) => waiter.end > accepted);
    for (const waiter of done) waiter.resolve();
    if (closed && !this.#closed) {
      this.#closed = true;
      this.#pieces = [];
      for (const waiter of this.#waiters) waiter.reject(closedError());
      for (const waiter of this.#closeWaiters) waiter.resolve();
      this.#waiters = [];
      this.#closeWaiters = [];
    }
    this.#fill();
  }

  /** The connection is gone: whoever waits must attach again and write again from the accepted count. `why` is made where somebody asks: most processes end and nobody does. */
  lose(why: () => SkerryError): void {
    this.#lost = why;
    for (const waiter of [...this.#waiters, ...this.#closeWaiters]) waiter.reject(why());
    this.#waiters = [];
    this.#closeWaiters = [];
    this.#pieces = [];
  }

  #fill(): void {
    if (this.#closed) return;
    for (let piece = this.#pieces[0]; piece !== undefined; piece = this.#pieces[0]) {
      const room = this.#accepted + WINDOW_BYTES - this.#sent;
      const from = this.#sent - piece.offset;
      const chunk = piece.data.subarray(from, from + Math.min(room, CHUNK_BYTES));
      if (chunk.length === 0 && from < piece.data.length) return;
      if (chunk.length > 0) this.#send(encode.stdinHeader(this.#sent, chunk.length), chunk);
      this.#sent += chunk.length;
      if (this.#sent >= piece.offset + piece.data.length) this.#pieces.shift();
    }
    if (this.#eof === 'wanted') {
      this.#eof = 'sent';
      this.#send(encode.stdinEof());
    }
  }
}
