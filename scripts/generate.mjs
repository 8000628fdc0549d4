// Generates the TypeScript of proto/ (`npm run generate`). With --check nothing is written: it fails when what is committed differs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { differing } from './lib/generated.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = join(root, 'node_modules', '.bin');
/** Where buf.gen.yaml puts the code, relative to the root. */
const OUTPUT = join('server', 'src', 'api', 'modal', 'gen');

function generate(outputRoot) {
  const { status, error } = spawnSync(join(bin, 'buf'), ['generate', '--output', outputRoot], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` },
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function check() {
  const temporary = mkdtempSync(join(tmpdir(), 'skerry-generate-'));
  try {
    generate(temporary);
    return differing(join(temporary, OUTPUT), join(root, OUTPUT));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

if (process.argv.includes('--check')) {
  const stale = check();
  for (const name of stale) console.error(`${join(OUTPUT, name)} does not match proto/`);
  if (stale.length > 0) console.error('Run `npm run generate` and commit the result.');
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  generate('.');
}
