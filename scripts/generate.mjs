// Generates the TypeScript of proto/ (`npm run generate`). With --check nothing is written: it fails when what is committed differs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

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

/** Contents by relative path; empty when there is no such directory. */
function filesOf(directory) {
  const names = existsSync(directory) ? readdirSync(directory, { recursive: true, withFileTypes: true }) : [];
  return new Map(
    names
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(directory.length + 1), readFileSync(path, 'utf8')]),
  );
}

function check() {
  const temporary = mkdtempSync(join(tmpdir(), 'skerry-generate-'));
  try {
    generate(temporary);
    const fresh = filesOf(join(temporary, OUTPUT));
    const committed = filesOf(join(root, OUTPUT));
    const names = new Set([...fresh.keys(), ...committed.keys()]);
    return [...names].filter((name) => fresh.get(name) !== committed.get(name)).sort();
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
