/** Pages of lists, as the clients ask for them: from the newest back. Facts: docs/protocol/volumes-blobs-secrets.md, section 3. */
import { MAX_PAGE } from '../../../platform/paging.ts';
import { fromSeconds } from './wire-time.ts';

/** @param pagination `ListPagination`; a client that leaves something out gets the newest, as many as a page has */
export const pageOf = (
  pagination: { readonly maxObjects: number; readonly createdBefore: number } | undefined,
): { readonly beforeMs: number | undefined; readonly limit: number } => ({
  beforeMs: fromSeconds(pagination?.createdBefore ?? 0),
  limit: pagination?.maxObjects || MAX_PAGE,
});
