/** Builds the agent of the last commit at two places, and says whether both are the same: `npm run check:agent`. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { capture } from './lib/command.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'skerry-agent-'));
try {
  const archive = join(scratch, 'source.tar');
  await capture(['git', 'archive', '--output', archive, 'HEAD'], { cwd: root });
  const hashes = [];
  for (const place of ['a', 'somewhere/else/and-longer']) {
    const clone = join(scratch, place);
    mkdirSync(clone, { recursive: true });
    await capture(['tar', '--extract', '--file', archive], { cwd: clone });
    const build = ['cargo', 'build', '--release', '--locked', '--package', 'skerry-agent'];
    await capture(build, { cwd: clone, env: { ...process.env, CARGO_TARGET_DIR: join(clone, 'target') } });
    const bytes = readFileSync(join(clone, 'target/release/skerry-agent'));
    hashes.push(createHash('sha256').update(bytes).digest('hex'));
    process.stdout.write(`${hashes.at(-1)}  ${place}\n`);
  }
  if (new Set(hashes).size > 1) process.exitCode = 1;
  process.stdout.write(process.exitCode ? 'They differ.\n' : 'They are the same.\n');
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
