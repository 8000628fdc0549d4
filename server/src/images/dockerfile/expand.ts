/**
 * Variable expansion in Dockerfile words, as BuildKit's shell lexer does it
 * (moby/buildkit frontend/dockerfile/shell/lex.go; https://docs.docker.com/reference/dockerfile/#environment-replacement).
 * One pass also removes quotes and escapes, which is why a word goes through it exactly once.
 */
import { SkerryError } from '../../errors/skerry-error.ts';
import { globMatches } from './glob.ts';

/** The value of a variable, or undefined when it is not set. */
export type Lookup = (name: string) => string | undefined;

/** What one expansion may grow to: `ENV A=$B$B` repeated doubles each time. */
const MAX_EXPANDED = 1 << 20;

/** What becomes of quotes: those of a word only say where it ends, those of a here-document are its text. */
export type Quotes = 'removed' | 'text';

/**
 * Expands `$NAME`, `${NAME}`, `${NAME:-word}`, `${NAME-word}`, `${NAME:+word}`, `${NAME+word}`, `${NAME:?word}`, `${NAME?word}`, `${NAME#glob}`,
 * `${NAME##glob}`, `${NAME%glob}`, `${NAME%%glob}`, `${NAME/glob/word}`, `${NAME//glob/word}` and removes escapes.
 * @throws SkerryError `invalid-argument` for an unterminated quote or brace, a modifier that does not exist, or a required variable without a value.
 */
export function expandWord(
  word: string,
  lookup: Lookup,
  escapeChar: string,
  quotes: Quotes = 'removed',
): string {
  return new Expansion(word, lookup, escapeChar, quotes).run();
}

const isNameStart = (c: string | undefined): boolean => c !== undefined && /[A-Za-z_]/.test(c);
const isNamePart = (c: string | undefined): boolean => c !== undefined && /[A-Za-z0-9_]/.test(c);

class Expansion {
  readonly #text: string;
  readonly #lookup: Lookup;
  readonly #escapeChar: string;
  readonly #quotes: Quotes;
  #at = 0;

  constructor(text: string, lookup: Lookup, escapeChar: string, quotes: Quotes) {
    this.#text = text;
    this.#lookup = lookup;
    this.#escapeChar = escapeChar;
    this.#quotes = quotes;
  }

  run(): string {
    return this.#until(undefined);
  }

  #fail(problem: string): never {
    throw new SkerryError('invalid-argument', `${problem} in \`${this.#text.slice(0, 200)}\``);
  }

  #until(stop: string | undefined): string {
    let result = '';
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined) {
        if (stop !== undefined) this.#fail(`missing \`${stop}\``);
        return result;
      }
      if (c === stop) {
        this.#at++;
        return result;
      }
      if (c === '$') result += this.#dollar();
      else if (c === "'" && this.#quotes === 'removed') result += this.#singleQuoted();
      else if (c === '"' && this.#quotes === 'removed') result += this.#doubleQuoted();
      else if (c === this.#escapeChar) {
        result += this.#text[this.#at + 1] ?? '';
        this.#at += 2;
      } else {
        result += c;
        this.#at++;
      }
      if (result.length > MAX_EXPANDED) this.#fail('the expansion is longer than 1 MiB');
    }
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) this.#fail('missing closing single quote');
    const inner = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return inner;
  }

  #doubleQuoted(): string {
    this.#at++;
    let result = '';
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined) return this.#fail('missing closing double quote');
      if (c === '"') {
        this.#at++;
        return result;
      }
      if (c === '$') result += this.#dollar();
      else if (c === this.#escapeChar) {
        const next = this.#text[this.#at + 1];
        // Inside double quotes the escape character only protects a quote, a dollar and itself.
        result += next === '"' || next === '$' || next === this.#escapeChar ? next : c + (next ?? '');
        this.#at += 2;
      } else {
        result += c;
        this.#at++;
      }
    }
  }

  #dollar(): string {
    this.#at++;
    if (this.#text[this.#at] !== '{') {
      const name = this.#name();
      return name === '' ? '$' : (this.#lookup(name) ?? '');
    }
    this.#at++;
    const name = this.#name();
    if (name === '') this.#fail('bad substitution');
    const value = this.#lookup(name);
    const c = this.#text[this.#at++];
    if (c === '}') return value ?? '';
    if (c === ':') return this.#modifier(name, this.#text[this.#at++], value === '' ? undefined : value);
    if (c === '#' || c === '%') return this.#strip(c, value ?? '');
    if (c === '/') return this.#replace(value ?? '');
    return this.#modifier(name, c, value);
  }

  #modifier(name: string, modifier: string | undefined, value: string | undefined): string {
    const word = modifier && '+-?'.includes(modifier) ? this.#until('}') : '';
    switch (modifier) {
      case '+':
        return value === undefined ? '' : word;
      case '-':
        return value ?? word;
      case '?':
        return value ?? this.#fail(`${name}: ${word || 'is not allowed to be unset'}`);
      default:
        return this.#fail(`modifier \`${modifier ?? ''}\` is not supported`);
    }
  }

  /** `#` and `##` remove the shortest and longest matching prefix, `%` and `%%` the suffix. */
  #strip(side: '#' | '%', value: string): string {
    const longest = this.#text[this.#at] === side;
    if (longest) this.#at++;
    const pattern = this.#pattern('}');
    // The number of positions times the length of the pattern is the work to do; variables are short in honest files.
    if (value.length > 4096 || pattern.length > 256) this.#fail('the value or the pattern is too long');
    const positions = Array.from({ length: value.length + 1 }, (_, index) => index);
    const shortestFirst = side === '#' ? positions : positions.toReversed();
    for (const cut of longest ? shortestFirst.toReversed() : shortestFirst) {
      const [part, rest] =
        side === '#' ? [value.slice(0, cut), value.slice(cut)] : [value.slice(cut), value.slice(0, cut)];
      if (globMatches(pattern, part)) return rest;
    }
    return value;
  }

  /** The first match of a pattern, the longest there, becomes the word; with two slashes each does. */
  #replace(value: string): string {
    const all = this.#text[this.#at] === '/';
    if (all) this.#at++;
    const pattern = this.#pattern('/');
    const word = this.#until('}');
    // The work is the value's length twice, times the pattern's.
    if (value.length > 512 || pattern.length > 64) this.#fail('the value or the pattern is too long');
    const matchEnd = (start: number): number => {
      for (let end = value.length; end > start; end--)
        if (globMatches(pattern, value.slice(start, end))) return end;
      return start;
    };
    let result = '';
    let at = 0;
    while (at < value.length) {
      const end = matchEnd(at);
      if (end === at) result += value.charAt(at++);
      else {
        result += word;
        at = end;
        if (!all) break;
      }
    }
    return result + value.slice(at);
  }

  /** A pattern up to `stop`: only `*` and `?` are more than themselves, and neither is after an escape. */
  #pattern(stop: string): string {
    let result = '';
    const literally = (text: string) => text.replace(/[[\\]/g, '\\$&');
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined) return this.#fail(`missing \`${stop}\``);
      if (c === stop) {
        this.#at++;
        return result;
      }
      if (c === this.#escapeChar) {
        result += `\\${this.#text[this.#at + 1] ?? ''}`;
        this.#at += 2;
      } else if (c === '$') result += literally(this.#dollar());
      else if (c === "'") result += literally(this.#singleQuoted());
      else if (c === '"') result += literally(this.#doubleQuoted());
      else {
        result += literally(c);
        this.#at++;
      }
      if (result.length > MAX_EXPANDED) this.#fail('the expansion is longer than 1 MiB');
    }
  }

  #name(): string {
    const start = this.#at;
    if (isNameStart(this.#text[start])) {
      while (isNamePart(this.#text[this.#at])) this.#at++;
    } else if (/[0-9]/.test(this.#text[start] ?? '')) {
      while (/[0-9]/.test(this.#text[this.#at] ?? '')) this.#at++;
    } else if ('@*#?-$!'.includes(this.#text[start] ?? ' ')) {
      this.#at++; // the shell's special parameters; never set here, so they expand to nothing
    }
    return this.#text.slice(start, this.#at);
  }
}
