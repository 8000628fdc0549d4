const FILES = 20;

/** The files of a generation by name; each file of it names it. */
export const generation = (number: number): ReadonlyMap<string, string> =>
  new Map(
    Array.from({ length: FILES }, (_, file) => [
      file % 5 === 4 ? `only-${number}-${file}` : String(file),
      `${number}/${file} `.repeat(1 + 997 * (file % 3)),
    ]),
  );
