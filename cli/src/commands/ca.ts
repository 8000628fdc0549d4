import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { findProgram, instanceName, run } from '../../../server/src/operator.ts';
import { CliError } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { oneObject, tell } from '../tell.ts';

/** Where Debian and its like look for authorities that an administrator adds, update-ca-certificates(8). */
const ADDED = '/usr/local/share/ca-certificates';
const UPDATE_TIMEOUT_MS = 120_000;

/** `skerry ca`: the authority that issued the server's own certificates, for who is to trust tunnels. */
export function caCommand(): Command {
  const ca = new Command('ca').description("show or install the authority of the server's own certificates");

  const show = new Command('show').description(
    'print its certificate (PEM), for browsers and other machines',
  );
  addDataDirOptions(show).action(() => {
    const dataDir = dataDirOf(show);
    process.stdout.write(authorityOf(dataDir));
    process.stderr.write(HOW_TO_TRUST);
  });

  const install = new Command('install')
    .description('have programs of this machine trust it (as root)')
    .option(...oneObject);
  addDataDirOptions(install).action(async (options: { json?: boolean }) => {
    const dataDir = dataDirOf(install);
    const pem = authorityOf(dataDir);
    await changeStore('install', () => writeFileSync(installedAs(dataDir), pem, { mode: 0o644 }));
    const words = `Programs that read the system's store trust it. ${BROWSERS}`;
    tell({ file: installedAs(dataDir) }, words, options);
  });

  const uninstall = new Command('uninstall').description('take it back (as root)');
  addDataDirOptions(uninstall).action(async () => {
    const dataDir = dataDirOf(uninstall);
    await changeStore('uninstall', () => rmSync(installedAs(dataDir), { force: true }));
  });

  return ca.addCommand(show).addCommand(install).addCommand(uninstall);
}

const BROWSERS =
  'Firefox, Chromium, Node, Java and Python’s certifi have stores of their own: `skerry ca show`.';
const HOW_TO_TRUST = `
Save it as skerry-ca.pem, and name it where a program looks:
  curl --cacert skerry-ca.pem, SSL_CERT_FILE (Python's ssl, Go, OpenSSL), REQUESTS_CA_BUNDLE, NODE_EXTRA_CA_CERTS,
  browsers: settings, certificates, authorities, import
Whoever has ca-key.pem beside it can make certificates for any name that these programs then believe. It never leaves the server.
`;

const installedAs = (dataDir: string): string => join(ADDED, `skerry-${instanceName(dataDir)}.crt`);

function authorityOf(dataDir: string): string {
  const file = join(dataDir, 'tls/ca.pem');
  if (existsSync(file)) return readFileSync(file, 'utf8');
  throw new CliError(
    `${file} is not there: the server makes it at its first start, unless it has a certificate of yours for everything.`,
  );
}

async function changeStore(command: string, change: () => void): Promise<void> {
  const update = findProgram('update-ca-certificates');
  if (!update || !existsSync(ADDED)) {
    throw new CliError('This machine has no update-ca-certificates. Do it by hand: skerry ca show');
  }
  if (process.getuid?.() !== 0) {
    throw new CliError(`The store of the machine is root's to change. Run: sudo skerry ca ${command}`);
  }
  change();
  await run([update], { timeoutMs: UPDATE_TIMEOUT_MS });
}
