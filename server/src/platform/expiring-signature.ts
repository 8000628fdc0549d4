/** Signatures for URLs that are handed out: whoever has one may do what the signed text says, for a day. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { SkerryError } from '../errors/skerry-error.ts';

const LIFETIME_MS = 24 * 60 * 60 * 1000;

export class ExpiringSignature {
  readonly #key: Uint8Array;
  readonly #now: () => number;

  /** @param key the same after a restart, used for one kind of text. `now` is in Unix milliseconds. */
  constructor(key: Uint8Array, now: () => number) {
    this.#key = key;
    this.#now = now;
  }

  /** @returns text of `[A-Za-z0-9_.-]` that says until when it holds */
  sign(text: string): string {
    const expires = Math.floor((this.#now() + LIFETIME_MS) / 1000);
    return `${expires}.${this.#digest(text, expires).toString('base64url')}`;
  }

  /** @throws SkerryError `permission-denied` unless `signature` is of this text and still holds */
  verify(text: string, signature: string): void {
    const [said = '', digest = ''] = signature.split('.');
    const expires = Number(said);
    const given = Buffer.from(digest, 'base64url');
    const expected = this.#digest(text, expires);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw new SkerryError('permission-denied', 'The signature of this URL is not valid.');
    }
    if (expires * 1000 < this.#now()) throw new SkerryError('permission-denied', 'This URL has expired.');
  }

  #digest(text: string, expires: number): Buffer {
    return createHmac('sha256', this.#key).update(`${expires} ${text}`).digest();
  }
}
