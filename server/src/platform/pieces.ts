/** Bytes that come in pieces of whatever size the other side likes. */

/** A buffer costs a few hundred bytes besides those that it holds. */
const SMALL_BYTES = 4096;

/** Adds a piece behind those that came before. Small ones become one, so that a list takes about as much memory as its bytes, however they were cut. */
export function addPiece<Piece extends Uint8Array>(pieces: (Piece | Buffer)[], piece: Piece): void {
  const last = pieces.at(-1);
  if (last === undefined || last.length + piece.length > SMALL_BYTES) pieces.push(piece);
  else pieces[pieces.length - 1] = Buffer.concat([last, piece]);
}
