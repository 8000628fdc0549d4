/** What sandboxes may reach by name through the official clients, under each runtime. Ways round are in `server/src/network/egress.test.ts`. */
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findExtraCaFile } from '../../server/src/config/extra-ca.ts';
import { defaultRunDir } from '../../server/src/engines/oci/layout.ts';
import { createOutside, type Outside } from '../../server/src/engines/testing/outside.ts';
import { run } from '../../server/src/platform/command.ts';
import {
  makeAuthority,
  makeServerCertificate,
  type Pair,
} from '../../server/src/transport/issue-certificate.ts';
import { goExample } from '../support/clients.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const INTERNET = fileURLToPath(new URL('../../server/src/network/testing/internet.ts', import.meta.url));
const NAMES = ['allowed.test', 'x.below.test', 'other.test'];
/** Of a secret that no sandbox may know. */
const VALUE = `secret-${process.pid}-${Date.now()}`;

/** Every name is at one address, so that it is names alone by which they are told apart. */
const internet = (certificate: Pair, address: string): readonly string[] => [
  INTERNET,
  JSON.stringify({
    certificate,
    names: Object.fromEntries(NAMES.map((name) => [name, address])),
    secure: [address],
    plain: [],
  }),
];

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`what is reached by name under ${runtime}`, { skip }, () => {
    let outside: Outside;
    let server: TestServer;
    const trusted = join(tmpdir(), `skerry-trusted-${process.pid}.pem`);
    before(async () => {
      const day = 86_400_000;
      const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
      const authority = await makeAuthority('Test internet', validity, undefined);
      const certificate = await makeServerCertificate(authority, NAMES, validity, undefined);
      const already = findExtraCaFile(process.env);
      await writeFile(trusted, `${already ? await readFile(already, 'utf8') : ''}\n${authority.cert}`);
      outside = await createOutside(`e${process.pid % 100_000}`, (address) => internet(certificate, address));
      const flags = ['--nameservers', outside.publicAddress, '--extra-ca-file', trusted];
      server = await startServer({ runtime, flags });
    });
    after(async () => {
      await server?.stop();
      await outside?.[Symbol.asyncDispose]();
      await rm(trusted, { force: true });
    });
    const options = () => ({
      env: { LIFE_INTERNET: outside.publicAddress, LIFE_SECRET_VALUE: VALUE, LIFE_RUNTIME: runtime },
    });

    test('in Python', (t) => pythonCases(t, server, 'network', options()));

    test('over a crash of the server', async (t) => {
      await pythonCases(t, server, 'network_restart', { ...options(), only: ['before_the_restart'] });
      assert.ok(!server.log().includes(VALUE), 'the value of a secret header is in the log');
      for (const directory of [server.dataDir, defaultRunDir(server.dataDir)]) {
        // As in `secrets.test.ts`: what is in a disk of a sandbox is looked at where it is mounted. What programs print is what this internet has shown them.
        const without = ['images', 'disks', 'output'].map((name) => `--exclude-dir=${name}`);
        const where = [...without, VALUE, directory];
        const found = await run(['grep', '-rlaF', '-D', 'skip', ...where], { okCodes: [0, 1, 2] });
        assert.equal(found.stdout, '', 'files that hold the value of a secret header');
      }
      await server.kill9();
      await server.restart();
      await pythonCases(t, server, 'network_restart', { ...options(), only: ['after_the_restart'] });
    });

    test('in JavaScript', { skip: onceUnderRunc(runtime) }, (t) => jsCases(t, server, 'network', options()));

    test('in Go', { skip: goExample() === undefined ? 'no Go toolchain' : onceUnderRunc(runtime) }, (t) =>
      goCases(t, server, options()),
    );
  });
}
