/** How receivers know that a message is from this server and is new: Standard Webhooks, https://www.standardwebhooks.com, which has libraries for them. */
import { createHmac } from 'node:crypto';
import { SkerryError } from '../errors/skerry-error.ts';

const PREFIX = 'whsec_';
const MIN_BYTES = 24;
const MAX_BYTES = 64;

/**
 * The key in the text of a secret, `whsec_` and 24 to 64 bytes in base64.
 * @throws SkerryError `invalid-argument` for any other text, which it does not repeat
 */
export function parseWebhookSecret(text: string): Buffer {
  const trimmed = text.trim();
  const key = Buffer.from(trimmed.slice(PREFIX.length), 'base64');
  if (trimmed.startsWith(PREFIX) && key.length >= MIN_BYTES && key.length <= MAX_BYTES) return key;
  throw new SkerryError(
    'invalid-argument',
    `The file of --webhook-secret-file must hold ${PREFIX} and ${MIN_BYTES} to ${MAX_BYTES} bytes in base64: echo "${PREFIX}$(openssl rand -base64 32)".`,
  );
}

/** The headers that say what a body is, when it was sent, and that whoever sent it has the key. */
export function signedHeaders(
  key: Uint8Array,
  { id, atMs, body }: { readonly id: string; readonly atMs: number; readonly body: string },
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(atMs / 1000));
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`, 'utf8').digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}
