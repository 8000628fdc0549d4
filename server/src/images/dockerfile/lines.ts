/**
 * From the lines of one instruction to its logical text: continuations joined, comments dropped, heredocs taken out. Rules as in
 * moby/buildkit frontend/dockerfile/parser/parser.go.
 */
import { SkerryError } from '../../errors/skerry-error.ts';

export interface Heredoc {
  /** The word between `<<` and the body, without quotes. */
  readonly name: string;
  readonly content: string;
  /** Whether variables in the content are expanded (COPY only): not when the name is quoted. */
  readonly expand: boolean;
}

export interface LogicalLine {
  /** Keyword and arguments on one line; heredoc markers stay in it. */
  readonly text: string;
  readonly heredocs: readonly Heredoc[];
  /** The bodies of the heredocs with their terminators, exactly as written: what a shell gets to see. */
  readonly heredocText: string;
}

const heredocKeywords = new Set(['RUN', 'COPY', 'ADD']);

/** @throws SkerryError `invalid-argument` for a heredoc without its terminator. */
export function logicalLine(lines: readonly string[], escapeChar: string, firstLine: number): LogicalLine {
  const continuation = new RegExp(`\\${escapeChar}[ \\t]*$`);
  let text = '';
  let used = 0;
  for (const line of lines) {
    used++;
    // Comments and empty lines inside a continued instruction do not end it.
    if (used > 1 && (/^\s*#/.test(line) || line.trim() === '')) continue;
    if (!continuation.test(line)) {
      text += line;
      break;
    }
    text += line.replace(continuation, '');
  }
  text = text.trim();
  const rest = lines.slice(used);
  const keyword = /^(?:ONBUILD\s+)?(\S+)/i.exec(text)?.[1]?.toUpperCase() ?? '';
  if (!heredocKeywords.has(keyword)) return { text, heredocs: [], heredocText: '' };
  return { text, ...takeHeredocs(text, rest, escapeChar, firstLine) };
}

function takeHeredocs(text: string, body: readonly string[], escapeChar: string, line: number) {
  const heredocs: Heredoc[] = [];
  let at = 0;
  for (const word of splitWords(text, escapeChar)) {
    const marker = heredocMarker(word);
    if (!marker) continue;
    const content: string[] = [];
    for (;;) {
      const raw = body[at++];
      if (raw === undefined) {
        throw new SkerryError(
          'invalid-argument',
          `Dockerfile line ${line}: the heredoc \`<<${marker.name}\` has no line \`${marker.name}\` that ends it`,
        );
      }
      const stripped = marker.chomp ? raw.replace(/^\t+/, '') : raw;
      if (stripped === marker.name) break;
      content.push(stripped);
    }
    heredocs.push({
      name: marker.name,
      content: content.map((each) => `${each}\n`).join(''),
      expand: marker.expand,
    });
  }
  return { heredocs, heredocText: body.slice(0, at).join('\n') };
}

/** `<<NAME`, `<<-NAME`, `<<"NAME"`, each optionally after a file descriptor number. */
export function heredocMarker(
  word: string,
): { readonly name: string; readonly chomp: boolean; readonly expand: boolean } | undefined {
  const match = /^\d*<<(-?)([^<]+)$/.exec(word);
  if (!match) return undefined;
  const quoted = match[2] ?? '';
  const name = quoted.replace(/^(["'])(.*)\1$/, '$2');
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) return undefined;
  return { name, chomp: match[1] === '-', expand: name === quoted };
}

/** Splits at white space outside quotes; quotes and escapes stay in the words (`parseWords` of BuildKit). */
export function splitWords(text: string, escapeChar: string): string[] {
  const words: string[] = [];
  let word = '';
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (quote === '' && /\s/.test(c)) {
      if (word !== '') words.push(word);
      word = '';
      continue;
    }
    word += c;
    if (c === escapeChar && quote !== "'" && i + 1 < text.length) word += text.charAt(++i);
    else if (quote === '' && (c === '"' || c === "'")) quote = c;
    else if (c === quote) quote = '';
  }
  if (word !== '') words.push(word);
  return words;
}
