/** Output of a command that nobody reads to its end: `skerry up | head -1`. */

/**
 * From now on what is said to a reader that has left is dropped, where it would end the process in the middle of its work (EPIPE, as an `error` event).
 * What is done and the exit status are the same as with a reader that stays.
 */
export function outliveReaders(
  streams: readonly NodeJS.WriteStream[] = [process.stdout, process.stderr],
): void {
  for (const stream of streams) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
}
