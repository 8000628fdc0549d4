/** Tells people at a terminal what takes long. */
const PATIENCE_MS = 2000;

export async function sayIfSlow<T>(what: string, work: Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work;
  const timer = setTimeout(() => process.stderr.write(`skerry: ${what} …\n`), PATIENCE_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
