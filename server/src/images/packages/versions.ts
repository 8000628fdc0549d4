/** Release versions `X.Y.Z`. Pre-releases are never chosen, so they need no order. */

/** The newest release of a series (`22`, `1.23`, `0.9.9`; '' means any). */
export function newestOf(series: string, versions: Iterable<string>): string | undefined {
  const matching = [...versions].filter(
    (version) =>
      /^\d+(\.\d+)*$/.test(version) &&
      (series === '' || version === series || version.startsWith(`${series}.`)),
  );
  return matching.toSorted(compare).at(-1);
}

function compare(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
