/** What is told of sandboxes and of lists, the same in every interface. */
import type { z } from 'zod';
import type { Sandbox } from '../../sandboxes/sandboxes.ts';
import type { sandboxStatus } from './fields.ts';

/** Callers cannot tell one that is to start from one that does. */
export const statusOf = (state: Sandbox['state']): z.output<typeof sandboxStatus> =>
  state === 'created' ? 'starting' : state;

/** The time before which a list goes on, from what `cursorAfter` gave. */
export const beforeOf = (cursor: string | undefined): number | undefined =>
  cursor === undefined ? undefined : Number(cursor);

/** Where a list goes on, newest first, that may have more; null where it was shorter than asked for. */
export function cursorAfter(
  found: readonly { readonly createdAtMs: number }[],
  limit: number,
): string | null {
  const last = found.length === limit ? found.at(-1) : undefined;
  return last ? String(last.createdAtMs) : null;
}

/**
 * A page of a list that is ordered by the time of creation, newest first.
 * @param found one more than fits into the page, where there is one
 */
export function pageOf<T>(
  found: readonly Sandbox[],
  limit: number,
  describe: (sandbox: Sandbox) => T,
): { readonly sandboxes: T[]; readonly nextCursor: string | null } {
  const page = found.slice(0, limit);
  const last = page.at(-1);
  return {
    sandboxes: page.map(describe),
    nextCursor: found.length > limit && last ? String(last.createdAtMs) : null,
  };
}
