/**
 * The codec of `agent/PROTOCOL.md`, the server's side: what it sends and what it understands. Every frame from an agent is checked
 * against the bounds of that page before its payload is buffered; the agent is as untrusted as the code beside it.
 */

import { addPiece } from '../platform/pieces.ts';

/** Bytes of one stream that may be on their way unacknowledged, in each direction. */
export const WINDOW_BYTES = 256 * 1024;
/** Most data bytes in one frame of a stream. */
export const MAX_DATA_BYTES = 256 * 1024;
/** Most bytes in one frame of a stream to a port. */
export const MAX_PORT_DATA_BYTES = 32 * 1024;
const HEADER_BYTES = 5;

export type OutputStream = 'stdout' | 'stderr';

/** How a process ended, in the agent's words. */
export interface AgentExit {
  readonly kind: 'code' | 'signal';
  /** The exit code (0 to 255), or the number of the signal that ended it (1 to 64). */
  readonly value: number;
  /** The agent killed it because its time was up. */
  readonly timedOut: boolean;
}

/** What an agent may send. JSON payloads are still text here; `messages.ts` validates them. */
export type AgentFrame =
  | { readonly type: 'hello' | 'started' | 'error' | 'result'; readonly json: string }
  | { readonly type: 'output'; readonly stream: OutputStream; readonly offset: number; readonly data: Buffer }
  | { readonly type: 'eof'; readonly stream: OutputStream; readonly length: number }
  | { readonly type: 'stdin-ack'; readonly accepted: number; readonly closed: boolean }
  | { readonly type: 'exit'; readonly exit: AgentExit }
  | { readonly type: 'data'; readonly data: Buffer }
  | { readonly type: 'connected' | 'end' };

/** What arrived is not a frame of the protocol; the connection cannot be used any more. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

interface FrameShape {
  readonly min: number;
  readonly max: number;
  readonly parse: (payload: Buffer) => AgentFrame;
}

const json =
  (type: 'hello' | 'started' | 'error' | 'result') =>
  (payload: Buffer): AgentFrame => ({ type, json: parseText(payload) });

const output =
  (stream: OutputStream) =>
  (payload: Buffer): AgentFrame => ({
    type: 'output',
    stream,
    offset: readOffset(payload, 0),
    data: payload.subarray(8),
  });

const shapes: ReadonlyMap<number, FrameShape> = new Map([
  [0x01, { min: 2, max: 1 << 10, parse: json('hello') }],
  [0x02, { min: 2, max: 1 << 10, parse: json('started') }],
  [0x03, { min: 2, max: 8 << 10, parse: json('error') }],
  [0x04, { min: 9, max: MAX_DATA_BYTES + 8, parse: output('stdout') }],
  [0x05, { min: 9, max: MAX_DATA_BYTES + 8, parse: output('stderr') }],
  [0x06, { min: 9, max: 9, parse: parseEof }],
  [0x07, { min: 9, max: 9, parse: parseStdinAck }],
  [0x08, { min: 6, max: 6, parse: parseExit }],
  [0x09, { min: 2, max: 4 << 20, parse: json('result') }],
  [0x0a, { min: 0, max: 0, parse: () => ({ type: 'connected' }) }],
  [0x0b, { min: 1, max: MAX_PORT_DATA_BYTES, parse: (data) => ({ type: 'data', data }) }],
  [0x0c, { min: 0, max: 0, parse: () => ({ type: 'end' }) }],
]);

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parseText(payload: Buffer): string {
  try {
    return utf8.decode(payload);
  } catch {
    throw new FrameError('a payload is not UTF-8');
  }
}

function readOffset(payload: Buffer, at: number): number {
  const high = payload.readUInt32LE(at + 4);
  if (high >= 1 << 21) throw new FrameError('an offset is beyond 2^53');
  return high * 2 ** 32 + payload.readUInt32LE(at);
}

function parseEof(payload: Buffer): AgentFrame {
  const number = payload.readUInt8(0);
  if (number !== 1 && number !== 2) throw new FrameError(`there is no stream ${number}`);
  return { type: 'eof', stream: number === 1 ? 'stdout' : 'stderr', length: readOffset(payload, 1) };
}

function parseFlag(payload: Buffer, at: number): boolean {
  const flag = payload.readUInt8(at);
  if (flag > 1) throw new FrameError(`${flag} is not a flag`);
  return flag === 1;
}

function parseStdinAck(payload: Buffer): AgentFrame {
  return { type: 'stdin-ack', accepted: readOffset(payload, 0), closed: parseFlag(payload, 8) };
}

function parseExit(payload: Buffer): AgentFrame {
  const signaled = parseFlag(payload, 0);
  const value = payload.readInt32LE(1);
  const [least, most] = signaled ? [1, 64] : [0, 255];
  if (value < least || value > most) throw new FrameError(`a process cannot end with ${value}`);
  return {
    type: 'exit',
    exit: { kind: signaled ? 'signal' : 'code', value, timedOut: parseFlag(payload, 5) },
  };
}

/**
 * Splits what arrives into frames. Keeps at most one frame and one chunk; data of frames that lie within one chunk is not copied,
 * so it must be used or copied before the chunk's memory would matter.
 */
export class FrameDecoder {
  #parts: Buffer[] = [];
  #size = 0;
  /** Length of the frame under way with its header, once that is known. */
  #wanted = HEADER_BYTES;
  #shape: FrameShape | undefined;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    addPiece(this.#parts, chunk);
    this.#size += chunk.length;
  }

  /** The next whole frame, if it is here. @throws FrameError; then the decoder must not be used again. */
  next(): AgentFrame | undefined {
    if (this.#shape === undefined) {
      if (this.#size < HEADER_BYTES) return undefined;
      const header = this.#peek(HEADER_BYTES);
      const type = header.readUInt8(0);
      const length = header.readUInt32LE(1);
      const shape = shapes.get(type);
      if (!shape) throw new FrameError(`unknown frame type 0x${type.toString(16).padStart(2, '0')}`);
      if (length < shape.min || length > shape.max) {
        throw new FrameError(
          `a frame of type 0x${type.toString(16).padStart(2, '0')} cannot have ${length} bytes`,
        );
      }
      this.#shape = shape;
      this.#wanted = HEADER_BYTES + length;
    }
    if (this.#size < this.#wanted) return undefined;
    const frame = this.#shape.parse(this.#take(this.#wanted).subarray(HEADER_BYTES));
    this.#shape = undefined;
    return frame;
  }

  /** The first `length` bytes, which must be here: as they lie where one piece has them all, else joined, and only they. */
  #peek(length: number): Buffer {
    const [first] = this.#parts;
    if (first !== undefined && first.length >= length) return first.subarray(0, length);
    return Buffer.concat(this.#parts, length);
  }

  #take(length: number): Buffer {
    const bytes = this.#peek(length);
    this.#size -= length;
    let left = length;
    for (let part = this.#parts[0]; part !== undefined && left > 0; part = this.#parts[0]) {
      if (part.length > left) this.#parts[0] = part.subarray(left);
      else this.#parts.shift();
      left -= Math.min(left, part.length);
    }
    return bytes;
  }
}

function frame(type: number, payloadBytes: number, fill: (payload: Buffer) => void): Buffer {
  const bytes = header(type, payloadBytes, HEADER_BYTES + payloadBytes);
  fill(bytes.subarray(HEADER_BYTES));
  return bytes;
}

function header(type: number, payloadBytes: number, size = HEADER_BYTES): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt32LE(payloadBytes, 1);
  return bytes;
}

function jsonFrame(type: number, value: object): Buffer {
  const text = JSON.stringify(value);
  return frame(type, Buffer.byteLength(text), (payload) => payload.write(text));
}

const writeOffset = (payload: Buffer, offset: number, at: number) => {
  payload.writeUInt32LE(offset % 2 ** 32, at);
  payload.writeUInt32LE(Math.floor(offset / 2 ** 32), at + 4);
};

/** Most bytes of a START frame's JSON. */
export const MAX_START_BYTES = 8 << 20;

/**
 * Makes the frames the server sends. Values must be in range: callers have validated them. A request says in which version of the protocol its connection goes
 * on (`hello.ts`).
 */
export const encode = {
  start: (version: number, request: object) => jsonFrame(0x20, { ...request, version }),
  attach: (version: number, id: string, stdoutOffset: number, stderrOffset: number) =>
    jsonFrame(0x21, { id, stdoutOffset, stderrOffset, version }),
  list: (version: number) => jsonFrame(0x22, { version }),
  stats: (version: number) => jsonFrame(0x23, { version }),
  killAll: (version: number, signal: number) => jsonFrame(0x24, { signal, version }),
  dial: (version: number, port: number) => jsonFrame(0x25, { port, version }),
  renew: (version: number, id: string) => jsonFrame(0x26, { id, version }),
  environment: (version: number) => jsonFrame(0x27, { version }),
  /** What comes before the bytes of a STDIN frame. */
  stdinHeader: (offset: number, length: number) => {
    const bytes = header(0x41, 8 + length, HEADER_BYTES + 8);
    writeOffset(bytes, offset, HEADER_BYTES);
    return bytes;
  },
  stdinEof: () => frame(0x42, 0, () => {}),
  ack: (stream: OutputStream, offset: number) =>
    frame(0x43, 9, (payload) => {
      payload.writeUInt8(stream === 'stdout' ? 1 : 2, 0);
      writeOffset(payload, offset, 1);
    }),
  resize: (rows: number, cols: number) =>
    frame(0x44, 4, (payload) => {
      payload.writeUInt16LE(rows, 0);
      payload.writeUInt16LE(cols, 2);
    }),
  signal: (signal: number, scope: 'process' | 'family') =>
    frame(0x45, 2, (payload) => {
      payload.writeUInt8(signal, 0);
      payload.writeUInt8(scope === 'process' ? 0 : 1, 1);
    }),
  release: () => frame(0x46, 0, () => {}),
  /** What comes before the 1 to 32 Ki bytes of a DATA frame. */
  dataHeader: (length: number) => header(0x47, length),
  end: () => frame(0x48, 0, () => {}),
};
