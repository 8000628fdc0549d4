/** Between SQLite's way to leave places for values and PostgreSQL's. */

/** What holds no placeholder (texts, quoted names, comments), or one. */
const TOKENS = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\?(\d*)/g;

/**
 * `?3` becomes `$3`, and `?` the number after the highest so far, as SQLite counts (https://www.sqlite.org/lang_expr.html#varparam).
 */
export function withDollars(sql: string): string {
  let highest = 0;
  return sql.replace(TOKENS, (token, digits: string | undefined) => {
    if (digits === undefined) return token;
    const number = digits === '' ? highest + 1 : Number(digits);
    highest = Math.max(highest, number);
    return `$${number}`;
  });
}
