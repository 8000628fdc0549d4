/** Takes the values of secrets out of text, also of text that comes in pieces: wherever a value is cut, no part of it gets through. */
import { SEARCH_START, TextSearch } from './text-search.ts';

/** What stands in the place of a value, however long that is. */
export const REDACTED = '***';

/** Shorter values would black out ordinary words and protect nothing. */
const MIN_VALUE = 4;
/** Lines of a value of several lines are hidden by themselves too: programs indent and number them. Shorter ones are braces and the like. */
const MIN_LINE = 8;

/** A run of text that is hidden, by its place in the whole text. */
interface Span {
  readonly start: number;
  readonly end: number;
  /** Its mark was given out. */
  readonly marked: boolean;
}

export class Redactor {
  readonly #search: TextSearch;

  constructor(values: Iterable<string>) {
    this.#search = new TextSearch([...formsOf(values)]);
  }

  /** A text that is complete. */
  redact(text: string): string {
    const stream = this.stream();
    return stream.write(text) + stream.end();
  }

  /** For one text that comes in pieces. */
  stream(): RedactingStream {
    return new RedactingStream(this.#search);
  }
}

/**
 * Gives text out as far as it is decided; the rest is held back, at most the length of a value: it may be the beginning of one. Whoever waits for the text
 * decides how long it may be held, by `release`.
 */
export class RedactingStream {
  readonly #search: TextSearch;
  #state = SEARCH_START;
  /** How much was written, and how much of that was given out or hidden; the held text lies between. */
  #written = 0;
  #given = 0;
  #held = '';
  /** In their order, not overlapping. */
  #spans: Span[] = [];
  /** Nothing was given out since the last mark. */
  #justMarked = false;

  constructor(search: TextSearch) {
    this.#search = search;
  }

  /** Where the held text begins in the whole; undefined when none is held. */
  get heldFrom(): number | undefined {
    return this.#held === '' ? undefined : this.#given;
  }

  /** Returns what can be given out now. */
  write(text: string): string {
    this.#held += text;
    for (let at = 0; at < text.length; at++) {
      this.#state = this.#search.step(this.#state, text.charCodeAt(at));
      this.#written++;
      const length = this.#search.longest(this.#state);
      if (length > 0) this.#hide(this.#written - length);
    }
    return this.#give(this.#decided);
  }

  /**
   * Returns what is held, since somebody waits for it. What may well be the beginning of a value is hidden; should the rest of the value come, it is hidden
   * too.
   */
  release(): string {
    if (this.#written - this.#decided >= MIN_VALUE) this.#hide(this.#decided);
    return this.#give(this.#written);
  }

  /** Returns what is held: no more comes, so it was no value. */
  end(): string {
    const rest = this.#give(this.#written);
    this.#state = SEARCH_START;
    this.#spans = [];
    return rest;
  }

  /** Everything before this place is in a value or in none. */
  get #decided(): number {
    return this.#written - this.#search.open(this.#state);
  }

  /** Hides everything from here on to the end of what was written. */
  #hide(from: number): void {
    let start = from;
    let marked = false;
    for (let last = this.#spans.at(-1); last && start < last.end; last = this.#spans.at(-1)) {
      start = Math.min(start, last.start);
      marked ||= last.marked;
      this.#spans.pop();
    }
    this.#spans.push({ start, end: this.#written, marked });
  }

  #give(end: number): string {
    const from = this.#given;
    const to = Math.max(end, from);
    let out = '';
    let at = from;
    const clear = (stop: number) => {
      const text = this.#held.slice(at - from, Math.max(0, stop - from));
      if (text !== '') this.#justMarked = false;
      out += text;
    };
    for (const [index, span] of this.#spans.entries()) {
      if (span.start >= to) break;
      clear(span.start);
      // Hidden text that follows text that was released has a mark again: else that text and what comes next might read as a value.
      if (!span.marked || (!this.#justMarked && span.end > at)) {
        out += REDACTED;
        this.#justMarked = true;
      }
      this.#spans[index] = { ...span, marked: true };
      at = Math.max(at, span.end);
    }
    clear(to);
    this.#held = this.#held.slice(to - from);
    this.#given = to;
    // A word that comes may still overlap one that ends after what is decided.
    this.#spans = this.#spans.filter((span) => span.end > this.#decided);
    return out;
  }
}

/** Every form in which programs print these values. */
function formsOf(values: Iterable<string>): Set<string> {
  const forms = new Set<string>();
  for (const value of values) {
    const lines = value.replaceAll('\r\n', '\n');
    const whole = [value, lines, lines.replaceAll('\n', '\r\n')];
    const json = JSON.stringify(value).slice(1, -1);
    for (const form of [...whole, json, ...whole.map((text) => text.trim())]) {
      if (form.length >= MIN_VALUE) forms.add(form);
    }
    if (!lines.trim().includes('\n')) continue;
    for (const line of lines.split('\n').map((text) => text.trim())) {
      if (line.length >= MIN_LINE) forms.add(line);
    }
  }
  return forms;
}
