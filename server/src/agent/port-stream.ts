/** The server's end of a stream to a port of a sandbox: DIAL of `agent/PROTOCOL.md`, on a connection of its own. */
import { Duplex } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import { addPiece } from '../platform/pieces.ts';
import { AgentConnection, type Meet } from './agent-connection.ts';
import { type AgentFrame, encode, MAX_PORT_DATA_BYTES } from './frames.ts';
import { requireFeature } from './hello.ts';
import { errorFromAgent, protocolError } from './messages.ts';

/** Bytes that may wait to be sent before the writer is held back; the kernel's buffers come on top. */
const SEND_BYTES = 64 * 1024;
/** The other way what was read at once is kept and no more, since a program may send byte by byte, and it is not the bytes then that cost the memory. */
const RECEIVE_BYTES = 1;

/** A connection to a port of a sandbox; what it carried stays known when it is over. */
export interface PortDuplex extends Duplex {
  /** Bytes that came from the program in the sandbox. */
  readonly bytesFrom: number;
  /** Bytes that were sent to it. */
  readonly bytesTo: number;
}

/**
 * Sends DIAL on a fresh connection and waits for the answer.
 * @throws SkerryError what the agent answered; `unimplemented` when it is too old; `unavailable` when it did not answer; the signal's reason
 */
export function openPort(
  connection: Duplex,
  meet: Meet,
  port: number,
  signal: AbortSignal,
): Promise<PortDuplex> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      stream.destroy();
      reject(signal.reason);
    };
    const settle = (outcome: () => void) => {
      signal.removeEventListener('abort', onAbort);
      outcome();
    };
    const stream = new PortStream(connection, meet, port, {
      connected: () => settle(() => resolve(stream)),
      refused: (error) => settle(() => reject(error)),
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

interface Answer {
  connected(): void;
  refused(error: SkerryError): void;
}

/** Half-closes like a TCP socket, in both directions; a stream that broke fails with an error and never just ends. */
class PortStream extends Duplex implements PortDuplex {
  bytesFrom = 0;
  bytesTo = 0;
  readonly #connection: AgentConnection;
  readonly #port: number;
  readonly #answer: Answer;
  #connected = false;
  /** What came with others and is not handed on yet. */
  readonly #came: Buffer[] = [];
  /** Whether END came, and was sent. */
  readonly #over = { reading: false, writing: false };

  constructor(duplex: Duplex, meet: Meet, port: number, answer: Answer) {
    super({
      allowHalfOpen: true,
      writableHighWaterMark: SEND_BYTES,
      readableHighWaterMark: RECEIVE_BYTES,
    });
    this.#port = port;
    this.#answer = answer;
    // Nobody may be reading when it breaks; whoever is has listeners of their own.
    this.on('error', () => {});
    this.#connection = new AgentConnection(duplex, meet, {
      request: (peer) => {
        requireFeature(peer, 'dial');
        return encode.dial(peer.version, port);
      },
      frame: (frame) => this.#onFrame(frame),
      idle: () => this.#handOn(),
      end: (error) => this.#onEnd(error),
    });
  }

  override _read(): void {
    this.#connection.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const frames: Uint8Array[] = [];
    for (let at = 0; at < chunk.length; at += MAX_PORT_DATA_BYTES) {
      const data = chunk.subarray(at, at + MAX_PORT_DATA_BYTES);
      frames.push(encode.dataHeader(data.length), data);
    }
    this.bytesTo += chunk.length;
    this.#connection.write(frames, (error) => done(error && this.#broke(error)));
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#over.writing = true;
    this.#connection.write([encode.end()], (error) => done(error && this.#broke(error)));
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // Only a stream that is over on both sides is closed by the agent: once the program has taken all of it.
    if (error === null && this.#over.reading && this.#over.writing) this.#connection.letGo();
    else this.#connection.close();
    done(error);
  }

  #onFrame(frame: AgentFrame): void {
    if (frame.type === 'error') throw errorFromAgent(frame.json);
    if (!this.#connected) {
      if (frame.type !== 'connected') throw protocolError(`${frame.type} before CONNECTED`);
      this.#connected = true;
      this.#answer.connected();
    } else if (this.#over.reading) {
      throw protocolError(`${frame.type} after END`);
    } else if (frame.type === 'data') {
      this.bytesFrom += frame.data.length;
      addPiece(this.#came, frame.data);
    } else if (frame.type === 'end') {
      this.#over.reading = true;
    } else {
      throw protocolError(`${frame.type} where it does not belong`);
    }
  }

  #handOn(): void {
    for (const piece of this.#came.splice(0)) {
      if (this.destroyed) return; // by who got the last one
      if (!this.push(piece)) this.#connection.pause();
    }
    if (this.#over.reading) this.push(null);
  }

  #onEnd(error: SkerryError): void {
    if (!this.#connected) {
      this.#answer.refused(error);
      this.destroy();
    } else if (!this.#over.reading || !this.#over.writing) {
      this.destroy(error.code === 'unavailable' ? this.#broke(error) : error);
    }
  }

  #broke(cause: Error): SkerryError {
    return new SkerryError('unavailable', `The connection to port ${this.#port} of the sandbox broke.`, {
      cause,
    });
  }
}
