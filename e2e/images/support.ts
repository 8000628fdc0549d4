/** What the tests of images that are built without a registry share. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { runPythonFile } from '../support/clients.ts';
import { projectRoot, type TestServer } from '../support/server.ts';

/** For the server's `env`: no certificate is valid for the program that asks image registries, so that all of them are out of reach on every machine. */
export const noRegistry = { SSL_CERT_FILE: '/dev/null', SSL_CERT_DIR: '/nonexistent' };

/** What `build.py` found in a sandbox of the image; which fields are there depends on what was asked of it. */
export interface Found {
  readonly buildSeconds: number;
  readonly version: string;
  readonly debian: string;
  readonly six: string;
  readonly programs: readonly (string | null)[];
  readonly pip: string;
  readonly venv: string;
  readonly headers: boolean;
  readonly strange: readonly string[];
  readonly tls: number;
  readonly built?: boolean;
  readonly kept?: string;
  readonly uv?: string;
}

/** Runs `build.py`; one object for each image it built. */
export async function build(
  server: TestServer,
  argv: readonly string[],
  version?: string,
): Promise<{ readonly found: readonly Found[]; readonly output: string }> {
  const result = await runPythonFile(server, join(projectRoot, 'e2e/images/build.py'), {
    argv,
    ...(version !== undefined && { version }),
    timeoutMs: 900_000,
    env: { PYTHONWARNINGS: 'ignore' },
  });
  const output = `${result.stdout}\n${result.stderr}`;
  assert.equal(result.code, 0, output);
  // Our own program writes these lines.
  const found = result.lines
    .filter(({ text }) => text.startsWith('@{'))
    .map(({ text }) => JSON.parse(text.slice(1)) as Found);
  return { found, output };
}

/** Asserts that a Python is as the official image's. */
export function assertWhole(found: Found | undefined, series: string): asserts found {
  assert.ok(found);
  assert.ok(found.version.startsWith(`${series}.`), found.version);
  assert.match(found.six, /^1\./);
  const expected = ['python', 'python3', `python${series}`, 'pip'].map((name) => `/usr/local/bin/${name}`);
  assert.deepEqual(found.programs, expected);
  assert.deepEqual([found.pip, found.venv], [`${series})`, `${series})`]);
  assert.equal(found.headers, true, 'there are headers');
  assert.deepEqual(found.strange, []);
  assert.equal(found.tls, 200);
}
