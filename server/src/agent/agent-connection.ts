/** One connection to an agent: HELLO in, a request out, then frames both ways, and one end. */
import type { Duplex } from 'node:stream';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { type AgentFrame, FrameDecoder, FrameError } from './frames.ts';
import type { Peer } from './hello.ts';
import { protocolError } from './messages.ts';

/** How long an agent may take to close a connection that is over: as long as Linux keeps one of TCP that nobody has any more. */
const LINGER_MS = 60_000;

/** Makes of what an agent says first who it is: `meetAgain`. */
export type Meet = (hello: string) => Peer;

export interface ConnectionEvents {
  /** The agent said who it is: gives the request that the connection is for. What it throws ends the connection. */
  request(peer: Peer): Buffer;
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
  readonly #meet: Meet;
  readonly #events: ConnectionEvents;
  #greeted = false;
  #ended = false;

  constructor(duplex: Duplex, meet: Meet, events: ConnectionEvents) {
    this.#duplex = duplex;
    this.#meet = meet;
    this.#events = events;
    duplex.on('data', (chunk: Buffer) => this.#onData(chunk));
    duplex.on('error', (error) => this.#broke(error));
    duplex.on('end', () => this.#broke());
    duplex.on('close', () => this.#broke());
    duplex.resume(); // whoever kept it as a spare may have paused it
  }

  /**
   * Sends a frame, which may come in parts. What is in flight is bounded by the windows of the protocol, so the return value of the stream's own `write` does
   * not matter. After the end it does nothing.
   */
  send(...parts: Uint8Array[]): void {
    if (!this.#ended) this.#put(parts);
  }

  /**
   * Sends frames that nothing else bounds: `done` is called once they have left the process, and before that no more are to be handed over. After the end it is
   * called with an error.
   */
  write(parts: readonly Uint8Array[], done: (error?: Error | null) => void): void {
    if (this.#ended || parts.length === 0) done(this.#ended ? gone() : null);
    else this.#put(parts, done);
  }

  /** Reads no more until `resume`; what came together with the last frame still comes. */
  pause(): void {
    this.#duplex.pause();
  }

  resume(): void {
    if (!this.#ended) this.#duplex.resume();
  }

  /** Leaves it to the agent to close the connection, without an event; one that does not must not keep the descriptor for ever. */
  letGo(): void {
    if (this.#ended) return;
    this.#ended = true;
    const linger = setTimeout(() => this.#duplex.destroy(), LINGER_MS).unref();
    this.#duplex.once('close', () => clearTimeout(linger));
    this.#duplex.resume(); // to see the end
  }

  /** Ends the connection without an event. A last frame is still delivered. */
  close(lastFrame?: Buffer): void {
    if (this.#ended) return;
    this.#ended = true;
    if (lastFrame === undefined) {
      this.#duplex.destroy();
      return;
    }
    // An agent that does not close must not keep the descriptor. What was written is read after the close as well.
    this.#duplex.write(lastFrame, () => this.#duplex.destroy());
  }

  /** Ends the connection with an error of ours. */
  fail(error: SkerryError): void {
    this.#end(error);
  }

  /** In one system call, if there is room. */
  #put(parts: readonly Uint8Array[], done?: (error?: Error | null) => void): void {
    this.#duplex.cork();
    for (const [index, part] of parts.entries()) {
      this.#duplex.write(part, index === parts.length - 1 ? done : undefined);
    }
    this.#duplex.uncork();
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
    const request = this.#events.request(this.#meet(frame.json));
    this.#greeted = true;
    this.send(request);
  }

  /** An error with its stack is dear, and each connection that was closed well comes here as well. */
  #broke(cause?: unknown): void {
    if (!this.#ended) this.#end(gone(cause));
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
