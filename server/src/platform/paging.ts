/** Lists that are asked for page by page. */

/** Items of a page. */
export const MAX_PAGE = 100;

/** What of a wished size is granted. */
export const pageSize = (wished: number): number => Math.min(Math.max(Math.floor(wished), 1), MAX_PAGE);
