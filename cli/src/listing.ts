/** What a command that lists prints: a JSON object a line, a table, or that there is nothing. */
export function listing<T extends object>(
  items: readonly T[],
  { json, none, table }: { json: boolean | undefined; none: string; table: (items: readonly T[]) => string },
): string {
  if (json) return items.map((each) => `${JSON.stringify(each)}\n`).join('');
  return items.length === 0 ? none : table(items);
}
