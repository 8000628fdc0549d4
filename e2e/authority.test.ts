/** The authority of a server's certificates is installed on a machine, and taken back: on a copy of this one's store, which nobody else sees. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findProgram } from '../server/src/platform/find-program.ts';
import { loadCertificate } from '../server/src/transport/certificate.ts';
import { runProgram } from './support/program.ts';
import { projectRoot } from './support/server.ts';
import { patient } from './support/slowness.ts';

const missing = ['update-ca-certificates', 'openssl', 'unshare'].filter((name) => !findProgram(name));

/** Two directories that update-ca-certificates(8) reads and writes, each under a layer that is gone with the namespace. */
const program = `
mount -t tmpfs tmpfs "$SCRATCH"
for place in /etc/ssl /usr/local/share/ca-certificates; do
  mkdir -p "$SCRATCH$place/upper" "$SCRATCH$place/work"
  mount -t overlay overlay -o "lowerdir=$place,upperdir=$SCRATCH$place/upper,workdir=$SCRATCH$place/work" "$place"
done
skerry() { "$NODE" "$CLI" ca "$1" --data-dir "$DATA"; }
trusted() { openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt "$DATA/tls/cert.pem" > /dev/null 2>&1 && echo yes || echo no; }
trusted
skerry install > /dev/null
trusted
skerry uninstall
trusted
skerry show 2> /dev/null | cmp - "$DATA/tls/ca.pem"
`;

test('`skerry ca install` and `uninstall`', {
  skip: missing.length > 0 ? `no ${missing.join(', no ')}` : process.getuid?.() !== 0 && 'not root',
}, async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'authority-'));
  const dataDir = mkdtempSync(join(tmpdir(), 'authority-data-'));
  try {
    await loadCertificate({ dataDir, certFile: '', keyFile: '', names: [], now: Date.now });
    const paths = { SCRATCH: scratch, DATA: dataDir, NODE: process.execPath };
    const { code, stdout, stderr } = await runProgram(
      ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', program],
      {
        env: { PATH: process.env.PATH ?? '', ...paths, CLI: join(projectRoot, 'cli/bin/skerry.mjs') },
        timeoutMs: patient(120_000),
      },
    );
    assert.equal(code, 0, stderr);
    assert.equal(stdout, 'no\nyes\nno');
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(dataDir, { recursive: true, force: true });
  }
});
