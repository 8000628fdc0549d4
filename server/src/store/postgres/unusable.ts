/** That a database which may well be there cannot be used: for an operator, and without anything that is secret. Why is for `why-no-connection.ts` to say. */
import { SkerryError } from '../../errors/skerry-error.ts';

/** Somebody has to mend something. The message goes on from "The database at … cannot be used: ". */
export class Unusable extends Error {
  override readonly name = 'Unusable';
}

export const unusable = (place: string, why: string) =>
  new SkerryError('unavailable', `The database at ${place} cannot be used: ${why}.`);

export const unreachable = (place: string, why: string) =>
  new SkerryError('unavailable', `The database at ${place} does not answer: ${why}`);

/** What a connection that was not made, or was lost, is to callers. */
export function toSkerryError(place: string, error: unknown): SkerryError {
  if (error instanceof SkerryError) return error;
  return error instanceof Unusable ? unusable(place, error.message) : unreachable(place, reasonOf(error));
}

/** Of several addresses of one name each has its own reason, and the whole has none. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(String).join(', ');
  return error instanceof Error ? error.message : String(error);
}
