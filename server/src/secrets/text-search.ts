/**
 * Many words looked for at once in a text that comes in pieces: the automaton of Aho and Corasick (Efficient string matching, CACM 18(6), 1975). A step
 * costs the same however many words there are; memory is some 20 bytes for each of their characters.
 */

/** Where the automaton stands after what it has read. */
export type SearchState = number;

export const SEARCH_START: SearchState = 0;

const CODES = 0x10000;

export class TextSearch {
  /** Of each node, which stands for the beginning of a word. The root is 0, so 0 is no child. */
  readonly #firstChild: Int32Array;
  readonly #firstCode: Uint16Array;
  /** Children but the first, by node and code unit: in long words few nodes have any. */
  readonly #moreChildren = new Map<number, number>();
  /** The node of the longest proper suffix that begins a word too. */
  readonly #fallback: Int32Array;
  readonly #longest: Int32Array;
  readonly #open: Int32Array;

  /** @param words none of them empty */
  constructor(words: readonly string[]) {
    const size = words.reduce((sum, word) => sum + word.length, 1);
    this.#firstChild = new Int32Array(size);
    this.#firstCode = new Uint16Array(size);
    this.#fallback = new Int32Array(size);
    this.#longest = new Int32Array(size);
    this.#open = new Int32Array(size);
    const levels: { node: number; parent: number; code: number }[][] = [];
    let count = 1;
    for (const word of words) {
      let node = 0;
      for (let depth = 0; depth < word.length; depth++) {
        const code = word.charCodeAt(depth);
        let child = this.#child(node, code);
        if (child === 0) {
          child = count++;
          this.#addChild(node, code, child);
          levels[depth] ??= [];
          levels[depth]?.push({ node: child, parent: node, code });
        }
        node = child;
      }
      this.#longest[node] = word.length;
    }
    // From short to long: what a node falls back to is shorter, so that it is known already.
    for (const [depth, level] of levels.entries()) {
      for (const { node, parent, code } of level) {
        const fallback = parent === 0 ? 0 : this.step(this.#fallback[parent] ?? 0, code);
        this.#fallback[node] = fallback;
        if (this.#longest[node] === 0) this.#longest[node] = this.longest(fallback);
        this.#open[node] = this.#firstChild[node] === 0 ? this.open(fallback) : depth + 1;
      }
    }
  }

  /** Reads one UTF-16 code unit. */
  step(state: SearchState, code: number): SearchState {
    for (let node = state; ; node = this.#fallback[node] ?? 0) {
      const child = this.#child(node, code);
      if (child !== 0 || node === 0) return child;
    }
  }

  /** Length of the longest word that ends here, 0 for none. */
  longest(state: SearchState): number {
    return this.#longest[state] ?? 0;
  }

  /** How many of the last code units may be the beginning of a word that goes on: no word that ends later begins before them. */
  open(state: SearchState): number {
    return this.#open[state] ?? 0;
  }

  #child(node: number, code: number): number {
    const first = this.#firstChild[node] ?? 0;
    if (first === 0 || this.#firstCode[node] === code) return first;
    return this.#moreChildren.get(node * CODES + code) ?? 0;
  }

  #addChild(node: number, code: number, child: number): void {
    if (this.#firstChild[node] === 0) {
      this.#firstChild[node] = child;
      this.#firstCode[node] = code;
    } else {
      this.#moreChildren.set(node * CODES + code, child);
    }
  }
}
