/** Divides what is bounded among those who want some. */

export interface Claim<T> {
  readonly of: T;
  /** How many it wants. */
  readonly count: number;
  /** What each of them takes. */
  readonly weight: number;
}

/** How many each gets, so that neither count nor weight is exceeded: one after the other goes to whoever has the smallest part of what they want. */
export function allot<T>(
  claims: readonly Claim<T>[],
  bound: { readonly count: number; readonly weight: number },
): ReadonlyMap<T, number> {
  const given = new Map<T, number>();
  let { count, weight } = bound;
  const open = new Set(claims);
  while (count > 0 && open.size > 0) {
    let poorest: { readonly claim: Claim<T>; readonly part: number } | undefined;
    for (const claim of open) {
      const part = (given.get(claim.of) ?? 0) / claim.count;
      if (claim.weight > weight || part >= 1 || claim.count === 0) open.delete(claim);
      else if (part < (poorest?.part ?? 1)) poorest = { claim, part };
    }
    if (!poorest) break;
    const { of, weight: each } = poorest.claim;
    given.set(of, (given.get(of) ?? 0) + 1);
    count--;
    weight -= each;
  }
  return given;
}
