/** What this installation remembers besides its rows: small texts by key that outlive a restart. `store/settings.ts` keeps them. */
export interface KeptValues<Key extends string> {
  get(key: Key): string | undefined;
  set(key: Key, value: string): void;
}
