import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findCargo } from './toolchains.mjs';
import { parseVersion } from './versions.mjs';

const directory = mkdtempSync(join(tmpdir(), 'toolchains-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A program that answers as this cargo does. */
function writeCargo(folder, script) {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'cargo');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

test('a cargo that is too old or does not work is told apart from a good one', async () => {
  const inPath = join(directory, 'bin');
  process.env.PATH = `${inPath}:/usr/bin:/bin`;
  process.env.CARGO_HOME = join(directory, 'cargo-home');
  const old = writeCargo(inPath, 'echo "cargo 1.65.0"');
  const byHand = writeCargo(join(process.env.CARGO_HOME, 'bin'), 'echo "cargo 1.96.0 (1a2b3c 2026-05-01)"');
  assert.deepEqual(await findCargo(parseVersion('1.70')), {
    cargo: byHand,
    others: [`${old}: cargo 1.65.0`],
  });

  writeCargo(inPath, 'echo "error: no default toolchain" >&2; exit 1'); // rustup without one
  assert.deepEqual(await findCargo(parseVersion('1.70')), {
    cargo: byHand,
    others: [`${old}: does not work`],
  });
  assert.equal((await findCargo(parseVersion('999.0'))).cargo, undefined);
});
