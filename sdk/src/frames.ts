/** Reads the output of a process as the server sends it: frames of a kind (1 byte), a length (4 bytes, big-endian) and that many bytes. */

import type { FetchAnswer } from './core/http.ts';
import { readPieces } from './core/lines.ts';
import type { ErrorAnswer, ProcessExit } from './gen/types.ts';

export type Frame =
  | { readonly kind: 'stdout' | 'stderr'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'exit'; readonly exit: ProcessExit }
  | { readonly kind: 'error'; readonly error: ErrorAnswer['error'] };

const HEADER_BYTES = 5;
/** More than any server sends at once. */
const MAX_FRAME_BYTES = 16 << 20;

/** The frames of a response in order; leaving the loop early closes the connection. Frames of later versions are passed over. */
export async function* readFrames(response: FetchAnswer): AsyncGenerator<Frame, void> {
  let rest = new Uint8Array();
  for await (const piece of readPieces(response)) {
    rest = rest.length === 0 ? piece : concat([rest, piece]);
    for (;;) {
      if (rest.length < HEADER_BYTES) break;
      const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
      const length = view.getUint32(1);
      if (length > MAX_FRAME_BYTES) throw new Error('This is no output of a Skerry server.');
      if (rest.length < HEADER_BYTES + length) break;
      const frame = toFrame(view.getUint8(0), rest.slice(HEADER_BYTES, HEADER_BYTES + length));
      rest = rest.subarray(HEADER_BYTES + length);
      if (frame) yield frame;
    }
  }
}

function toFrame(kind: number, bytes: Uint8Array<ArrayBuffer>): Frame | undefined {
  switch (kind) {
    case 1:
      return { kind: 'stdout', bytes };
    case 2:
      return { kind: 'stderr', bytes };
    case 3:
      return { kind: 'exit', exit: parse<ProcessExit>(bytes) };
    case 4:
      return { kind: 'error', error: parse<ErrorAnswer>(bytes).error };
    default:
      return undefined;
  }
}

/** The shape is the server's promise. */
const parse = <T>(bytes: Uint8Array): T => JSON.parse(new TextDecoder().decode(bytes)) as T;

export function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
