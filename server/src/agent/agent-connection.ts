/** One connection to an agent: frames in, frames out, and one end. */
import type { Duplex } from 'node:stream';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { type AgentFrame, FrameDecoder, FrameError } from './frames.ts';
import { helloSchema, parse, protocolError } from './messages.ts';

export interface ConnectionEvents {
  /** Called for each frame after HELLO, in order. What it throws ends the connection. */
  frame(frame: AgentFrame): void;
  /** All frames that came together were handled: the moment to send what they asked for. */
  idle?(): void;
  /** The connection ended, once, and not by `close`. */
  end(error: SkerryError): void;
}

export class AgentConnection {
  readonly #duplex: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #events: ConnectionEvents;
  #greeted = false;
  #ended = false;

  constructor(duplex: Duplex, events: ConnectionEvents) {
    this.#duplex = duplex;
    this.#events = events;
    duplex.on('data', (chunk: Buffer) => this.#onData(chunk));
    duplex.on('error', (error) => this.#end(gone(error)));
    duplex.on('end', () => this.#end(gone()));
    duplex.on('close', () => this.#end(gone()));
    duplex.resume(); // whoever kept it as a spare may have paused it
  }

  /**
   * Sends a frame. What is in flight is bounded by the windows of the protocol, so the return value of the stream's own `write` does not
   * matter. After the end it does nothing.
   */
  send(frame: Buffer): void {
    if (!this.#ended) this.#duplex.write(frame);
  }

  /** Ends the connection without an event. A last frame is still delivered. */
  close(lastFrame?: Buffer): void {
    if (this.#ended) return;
    this.#ended = true;
    if (lastFrame === undefined) {
      this.#duplex.destroy();
      return;
    }
    // The agent answers RELEASE by closing; an agent that does not must not keep the descriptor.
    this.#duplex.end(lastFrame, () => this.#duplex.destroy());
  }

  /** Ends the connection with an error of ours. */
  fail(error: SkerryError): void {
    this.#end(error);
  }

  #onData(chunk: Buffer): void {
    if (this.#ended) return;
    try {
      this.#decoder.push(chunk);
      for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) {
        if (this.#greeted) this.#events.frame(frame);
        else this.#greet(frame);
        if (this.#ended) return;
      }
    } catch (error) {
      this.#end(error instanceof FrameError ? protocolError(error.message, error) : toSkerryError(error));
      return;
    }
    this.#events.idle?.();
  }

  #greet(frame: AgentFrame): void {
    if (frame.type !== 'hello') throw protocolError(`${frame.type} before HELLO`);
    parse(helloSchema, frame.json, 'HELLO');
    this.#greeted = true;
  }

  #end(error: SkerryError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#duplex.destroy();
    this.#events.end(error);
  }
}

function gone(cause?: unknown): SkerryError {
  return new SkerryError('unavailable', "The connection to the sandbox's agent broke.", { cause });
}
