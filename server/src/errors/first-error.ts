/** Errors that hold others: which of them came first, and a text with all of them. */

/** How deep errors within errors are followed. */
const MAX_DEPTH = 8;

/**
 * The error that came first: of one that was thrown while another was on its way (a failed disposal) that other one, of several the first. It is what a
 * caller should be told; the log gets all.
 */
export function firstError(error: unknown): unknown {
  let first = error;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    if (first instanceof SuppressedError) first = first.suppressed;
    else if (first instanceof AggregateError && first.errors.length > 0) first = first.errors[0];
    else return first;
  }
  return first;
}

/** Stack and causes of an error, and of those it holds, for people who read logs. */
export function describeError(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return String(error);
  const parts = [error.stack ?? `${error.name}: ${error.message}`];
  const add = (how: string, inner: unknown) => parts.push(`${how} ${describeError(inner, depth + 1)}`);
  if (depth < MAX_DEPTH) {
    if (error instanceof SuppressedError) {
      add('first:', error.suppressed);
      add('then, on the way out:', error.error);
    }
    if (error instanceof AggregateError) for (const each of error.errors) add('one of them:', each);
    if (error.cause !== undefined) add('caused by', error.cause);
  }
  return parts.join('\n');
}
