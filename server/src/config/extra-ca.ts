/** Which CA certificates sandboxes trust in addition when nobody says: those that this machine's other tools were told of. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What Node, OpenSSL, requests, curl, pip and git read, the most deliberate first. */
const variables = [
  'SKERRY_EXTRA_CA_FILE',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'PIP_CERT',
  'GIT_SSL_CAINFO',
] as const;

/** File in the data directory that remembers what was found, so that a start from a plain shell trusts the same. */
const MEMORY = 'extra-ca-file';

/**
 * The file that the environment names, for networks that inspect TLS; undefined when it names none. A SKERRY_EXTRA_CA_FILE is
 * taken as it is: that it does not exist is an error for whoever uses it. The other variables are meant for other programs, so one
 * that names nothing is passed over.
 */
export function findExtraCaFile(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const [own, ...others] = variables.map((name) => env[name]);
  if (own) return own === 'auto' || own === 'none' ? undefined : own;
  return others.find((path) => path && existsSync(path));
}

/** As `findExtraCaFile`, or else what the last server on this data directory found, if it still is there. */
export function findOrRememberExtraCaFile(
  env: Readonly<Record<string, string | undefined>>,
  dataDir: string,
): string | undefined {
  const found = findExtraCaFile(env);
  if (found) return found;
  try {
    const remembered = readFileSync(join(dataDir, MEMORY), 'utf8').trim();
    return existsSync(remembered) ? remembered : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a found file's path for the next start; nothing is forgotten when none was found. Never throws: on a full disk the next start looks again. */
export function rememberExtraCaFile(dataDir: string, path: string): void {
  if (path === '') return;
  const file = join(dataDir, MEMORY);
  const line = `${path}\n`;
  try {
    if (existsSync(file) && readFileSync(file, 'utf8') === line) return;
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(file, line, { mode: 0o600 });
  } catch {
    // what was remembered is lost at worst
  }
}
