/** One file of a program and all that it imports, for the clone's own Node: what the command's and the server's have in common. */
import { renameSync, writeFileSync } from 'node:fs';

/** @param options of esbuild, besides. @returns what it made, which is written nowhere yet */
export async function buildOneFile(options) {
  const { build } = await import('esbuild');
  return build({
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    metafile: true,
    legalComments: 'none',
    logLevel: 'error',
    // A source that looks for what lies beside it would not find it.
    logOverride: { 'empty-import-meta': 'error' },
    ...options,
  });
}

/** Whoever starts meanwhile reads the old one or the new, and never half of one. */
export function replace(path, content) {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}
