/**
 * What lets a client without any other credential move bytes of a volume over HTTP: it says what may be moved, is signed, and holds for a day. It is part of
 * a URL, so it is text of `[A-Za-z0-9_.-]`.
 */
import { z } from 'zod';
import type { UploadId } from '../ids.ts';
import { ExpiringSignature } from '../platform/expiring-signature.ts';

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

export class TransferTickets {
  readonly #signatures: ExpiringSignature;

  /** `now` is in Unix milliseconds. */
  constructor(key: Uint8Array, now: () => number) {
    this.#signatures = new ExpiringSignature(key, now);
  }

  issue(ticket: TransferTicket): string {
    const said = Buffer.from(JSON.stringify(ticket)).toString('base64url');
    return `${said}.${this.#signatures.sign(said)}`;
  }

  /** @throws SkerryError `permission-denied` */
  open(text: string): TransferTicket {
    const [said = '', ...signature] = text.split('.');
    this.#signatures.verify(said, signature.join('.'));
    return ticketSchema.parse(JSON.parse(Buffer.from(said, 'base64url').toString()));
  }
}
