/** The authority that sandboxes with secret headers trust: one for each server, made when it is first needed. Its key is sealed wherever it is kept. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { HeaderAuthority } from '../engines/engine.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import { once } from '../platform/once.ts';
import { openJson, sealJson } from '../secrets/sealed-json.ts';
import type { Vault } from '../secrets/secrets.ts';
import { makeAuthority } from '../transport/issue-certificate.ts';

/** What its ciphertext belongs to, for the vault. */
const CONTEXT = 'header-authority';
const DAY_MS = 86_400_000;
/** Longer than sandboxes and their servers live. */
const YEARS = 20;

const keptSchema = z.object({ cert: z.string(), key: z.string() });

export interface HeaderAuthorityParts {
  readonly settings: KeptValues<'headers.sealed-authority'>;
  readonly vault: Vault;
  readonly now: () => number;
}

/** Gives the same one at each call, also of a later server. @throws SkerryError `internal` when it was sealed with another key */
export const headerAuthority = (parts: HeaderAuthorityParts): (() => Promise<HeaderAuthority>) =>
  once(() => findOrMake(parts));

async function findOrMake({ settings, vault, now }: HeaderAuthorityParts): Promise<HeaderAuthority> {
  const kept = settings.get('headers.sealed-authority');
  if (kept !== undefined) {
    return keptSchema.parse(openJson(vault, Buffer.from(kept, 'base64'), CONTEXT));
  }
  const validity = {
    notBefore: new Date(now() - DAY_MS),
    notAfter: new Date(now() + YEARS * 365 * DAY_MS),
  };
  const name = `Skerry secret headers ${randomBytes(4).toString('hex')}`;
  const authority = await makeAuthority(name, validity, undefined);
  const sealed = sealJson(vault, authority, CONTEXT);
  settings.set('headers.sealed-authority', Buffer.from(sealed).toString('base64'));
  return authority;
}
