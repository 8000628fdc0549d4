/** What tokens may do. docs/remote.md is for those who make them, docs/decisions/0037 says why these. */
import { SkerryError } from '../errors/skerry-error.ts';

/**
 * Each includes those before it: `read` looks at everything and changes nothing, `sandboxes` does all that programs do, `admin` also what the operator does
 * (tokens, the disk, images of others, sandboxes that wait).
 */
export const scopes = ['read', 'sandboxes', 'admin'] as const;
export type Scope = (typeof scopes)[number];

/** Who proved to have a token. */
export interface Identity {
  readonly tokenId: string;
  readonly scope: Scope;
}

/**
 * @param what begins a sentence: 'Making tokens'
 * @throws SkerryError `scope-missing`, which says what is needed
 */
export function requireScope({ scope }: Identity, needed: Scope, what: string): void {
  if (scopes.indexOf(scope) >= scopes.indexOf(needed)) return;
  throw new SkerryError(
    'scope-missing',
    `${what} needs a token with the scope '${needed}'; this one has '${scope}'.`,
  );
}
