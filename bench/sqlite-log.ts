/** How much was written to a database: its write-ahead log as it lies on the disk (https://sqlite.org/fileformat2.html#walformat). */
import { readFileSync } from 'node:fs';

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const PAGE_SIZE_AT = 8;
/** In the header, and in each frame that is of this log and not of an earlier one in the same file. */
const [SALT_AT, FRAME_SALT_AT, SALT_BYTES] = [16, 8, 8];
/** In a frame: not 0 when it is the last of a transaction. */
const COMMIT_AT = 4;

export interface LogLength {
  /** Another one when the log was begun anew: then nothing can be told from two lengths. */
  readonly salt: string;
  readonly transactions: number;
  /** Frames, with their headers. */
  readonly bytes: number;
}

/** @param path of the log: that of the database and `-wal` */
export function logLength(path: string): LogLength {
  const log = readFileSync(path);
  const salt = log.subarray(SALT_AT, SALT_AT + SALT_BYTES);
  const frameBytes = FRAME_HEADER_BYTES + (log.length === 0 ? 0 : log.readUInt32BE(PAGE_SIZE_AT));
  let [at, transactions] = [HEADER_BYTES, 0];
  for (; at + frameBytes <= log.length; at += frameBytes) {
    if (!log.subarray(at + FRAME_SALT_AT, at + FRAME_SALT_AT + SALT_BYTES).equals(salt)) break;
    if (log.readUInt32BE(at + COMMIT_AT) !== 0) transactions++;
  }
  return { salt: salt.toString('hex'), transactions, bytes: Math.max(0, at - HEADER_BYTES) };
}
