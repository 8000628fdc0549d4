/** What is said between this process and the program that starts commands for it. `launcher/src/frames.rs` says what each frame means. */
import { constants } from 'node:os';
import type { Ending, StartRequest } from './starter.ts';

/** Counts up with every change of the frames. */
export const PROTOCOL = '1';

/** The most that the other end takes in one frame. Arguments that do not fit are refused by the kernel too. */
export const MAX_FRAME_BYTES = 16 << 20;

/** Input is sent in pieces of this many bytes at most. */
export const PIECE_BYTES = 64 << 10;

export type Answer =
  | { readonly kind: 'ready' | 'want' }
  | { readonly kind: 'started'; readonly pid: number }
  | { readonly kind: 'failed'; readonly errno: number }
  | { readonly kind: 'stdout' | 'stderr'; readonly chunk: Buffer }
  | { readonly kind: 'exit'; readonly ending: Ending };

const HEADER_BYTES = 9;

function frame(kind: number, id: number, payload: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(payload.reduce((sum, { length }) => sum + length, HEADER_BYTES - 4));
  header.writeUInt8(kind, 4);
  header.writeUInt32BE(id, 5);
  return Buffer.concat([header, ...payload]);
}

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

const text = (value: string): Buffer[] => {
  const bytes = Buffer.from(value);
  return [number(bytes.length), bytes];
};

const texts = (values: readonly string[]): Buffer[] => [number(values.length), ...values.flatMap(text)];

export function startFrame(id: number, { argv, cwd, env, input, discardOutput }: StartRequest): Buffer {
  const flags = (input === undefined ? 0 : 1) | (discardOutput ? 2 : 0);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return frame(1, id, [Buffer.of(flags), ...text(cwd ?? ''), ...texts(argv), ...texts(variables)]);
}

export const inputFrame = (id: number, piece: Uint8Array, last: boolean): Buffer =>
  frame(2, id, [Buffer.of(last ? 1 : 0), piece]);

export const killFrame = (id: number): Buffer => frame(3, id, []);

/** Puts what arrives together to frames: each with the number of its command. */
export class AnswerReader {
  #received: Buffer = Buffer.alloc(0);

  /** @throws Error when it is none of the frames */
  *read(chunk: Buffer): Generator<readonly [id: number, answer: Answer]> {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= HEADER_BYTES) {
      const end = 4 + this.#received.readUInt32BE();
      if (this.#received.length < end) return;
      const payload = this.#received.subarray(HEADER_BYTES, end);
      const found = [this.#received.readUInt32BE(5), parse(this.#received.readUInt8(4), payload)] as const;
      this.#received = this.#received.subarray(end);
      yield found;
    }
  }
}

function parse(kind: number, payload: Buffer): Answer {
  switch (kind) {
    case 1:
      return { kind: 'ready' };
    case 2:
      return { kind: 'started', pid: payload.readUInt32BE() };
    case 3:
      return { kind: 'failed', errno: payload.readInt32BE() };
    case 4:
      return { kind: 'stdout', chunk: payload };
    case 5:
      return { kind: 'stderr', chunk: payload };
    case 6:
      return { kind: 'want' };
    case 7:
      return { kind: 'exit', ending: ending(payload.readInt32BE()) };
    default:
      throw new Error(`The launcher sent a frame of kind ${kind}.`);
  }
}

function ending(status: number): Ending {
  if (status >= 0) return { code: status, signal: null };
  const name = Object.entries(constants.signals).find(([, value]) => value === -status)?.[0];
  return { code: null, signal: name ?? `signal ${-status}` };
}
