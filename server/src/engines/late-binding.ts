/** What a tenure has that a waiting instance was not made for. */
import { isDeepStrictEqual } from 'node:util';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Capabilities, Expected, RuntimeName, Tenure, TenurePart } from './engine.ts';

/** The parts of the tenure that are other than expected. @throws SkerryError `unimplemented` naming the first that cannot be any more */
export function lateParts(
  expected: Expected,
  tenure: Tenure,
  { bindsLate }: Capabilities,
  runtime: RuntimeName,
): ReadonlySet<TenurePart> {
  const late = new Set<TenurePart>();
  for (const part of ['hostname', 'limits', 'network'] as const) {
    if (!isDeepStrictEqual(expected[part], tenure[part])) late.add(part);
  }
  if ((expected.network.headers === undefined) !== (tenure.network.headers === undefined)) {
    // Its programs trust the authority of these headers from its start, or never.
    throw new SkerryError(
      'unimplemented',
      'A waiting instance cannot be given secret headers, nor lose them.',
    );
  }
  if (tenure.mounts.length > 0) late.add('mounts');
  if (tenure.buckets?.length) late.add('buckets');
  for (const part of late) {
    if (bindsLate.has(part)) continue;
    throw new SkerryError(
      'unimplemented',
      `Under ${runtime} a waiting instance cannot be given other ${part} than it was prepared for.`,
    );
  }
  return late;
}
