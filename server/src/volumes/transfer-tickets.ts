/**
 * What lets a client without any other credential move bytes of a volume over HTTP: it says what may be moved, is signed, and holds for a day. It is part of
 * a URL, so it is text of `[A-Za-z0-9_.-]`.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import type { UploadId } from '../ids.ts';

const LIFETIME_MS = 24 * 60 * 60 * 1000;

const ticketSchema = z.discriminatedUnion('kind', [
  /** A block of an upload. */
  z.object({
    kind: z.literal('put'),
    upload: z.string().transform((id) => id as UploadId), // signed, so it came from here
    file: z.number(),
    block: z.number(),
    sha256Hex: z.string(),
    bytes: z.number(),
  }),
  /** A part of a file. */
  z.object({ kind: z.literal('get'), place: z.string(), start: z.number(), length: z.number() }),
]);

export type TransferTicket = z.infer<typeof ticketSchema>;

const signedSchema = z.object({ expires: z.number(), ticket: ticketSchema });

export class TransferTickets {
  readonly #key: Uint8Array;
  readonly #now: () => number;

  /** `now` is in Unix milliseconds. */
  constructor(key: Uint8Array, now: () => number) {
    this.#key = key;
    this.#now = now;
  }

  issue(ticket: TransferTicket): string {
    const said = { expires: this.#now() + LIFETIME_MS, ticket };
    const text = Buffer.from(JSON.stringify(said)).toString('base64url');
    return `${text}.${this.#sign(text).toString('base64url')}`;
  }

  /** @throws SkerryError `permission-denied` */
  open(text: string): TransferTicket {
    const [said = '', signature = ''] = text.split('.');
    const given = Buffer.from(signature, 'base64url');
    const expected = this.#sign(said);
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      throw new SkerryError('permission-denied', 'The signature of this URL is not valid.');
    const { expires, ticket } = signedSchema.parse(JSON.parse(Buffer.from(said, 'base64url').toString()));
    if (expires < this.#now()) throw new SkerryError('permission-denied', 'This URL has expired.');
    return ticket;
  }

  #sign(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest();
  }
}
