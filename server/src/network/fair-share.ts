/** A bounded number of places for clients that do not trust each other: however few of them take however much, another one gets in. */

export interface Shares {
  /** Places in all. */
  readonly total: number;
  /** Places of one client. */
  readonly perClient: number;
}

interface Place {
  readonly evict: () => void;
}

export class FairShare {
  readonly #shares: Shares;
  /** The places of each client that has any, oldest first. */
  readonly #clients = new Map<string, Set<Place>>();
  #taken = 0;

  constructor(shares: Shares) {
    this.#shares = shares;
  }

  /**
   * A place for the client, and how to give it back (once or more). When all are taken, whoever has most gives up its oldest one, if that has at least two
   * more. Undefined when there is none.
   * @param evict called when the place is taken away; it is given back already then
   */
  take(client: string, evict: () => void): (() => void) | undefined {
    const own = this.#clients.get(client)?.size ?? 0;
    if (own >= this.#shares.perClient) return undefined;
    if (this.#taken >= this.#shares.total && !this.#makeRoom(own)) return undefined;
    const place = { evict };
    const places = this.#clients.get(client) ?? new Set();
    this.#clients.set(client, places.add(place));
    this.#taken++;
    return () => this.#giveBack(client, place);
  }

  #makeRoom(own: number): boolean {
    let most: [string, Set<Place>] | undefined;
    for (const entry of this.#clients) if (entry[1].size > (most?.[1].size ?? 0)) most = entry;
    if (!most || most[1].size < own + 2) return false;
    const [oldest] = most[1];
    if (!oldest) return false;
    this.#giveBack(most[0], oldest);
    oldest.evict();
    return true;
  }

  #giveBack(client: string, place: Place): void {
    const places = this.#clients.get(client);
    if (!places?.delete(place)) return;
    this.#taken--;
    if (places.size === 0) this.#clients.delete(client);
  }
}
