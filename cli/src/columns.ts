/**
 * Lines of cells, each column as wide as its widest cell.
 * @param textColumns so many from the first on begin at the left, the rest are numbers and end at the right; all by default
 */
export function formatColumns(rows: readonly (readonly string[])[], textColumns = Infinity): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const padded = (cell: string, column: number) => {
    const width = widths[column] ?? 0;
    return column < textColumns ? cell.padEnd(width) : cell.padStart(width);
  };
  return rows.map((row) => `${row.map(padded).join('  ').trimEnd()}\n`).join('');
}
