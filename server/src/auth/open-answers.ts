/** Answers under way, by the token that they were asked for with: they end with it. */

/** What tells that it is over, and can be broken off. */
export interface OpenAnswer {
  once(event: 'close', listener: () => void): unknown;
  destroy(): void;
}

export class OpenAnswers {
  readonly #byToken = new Map<string, Map<OpenAnswer, () => void>>();

  /** @param end tells whoever waits for it, where there is a better way than breaking it off */
  add(tokenId: string, answer: OpenAnswer, end: () => void = () => answer.destroy()): void {
    const open = this.#byToken.get(tokenId) ?? new Map();
    this.#byToken.set(tokenId, open.set(answer, end));
    answer.once('close', () => {
      open.delete(answer);
      if (open.size === 0 && this.#byToken.get(tokenId) === open) this.#byToken.delete(tokenId);
    });
  }

  /** Ends them: who asks again is told why. */
  end(tokenId: string): void {
    for (const end of this.#byToken.get(tokenId)?.values() ?? []) end();
  }
}
