/** Which DNS servers the resolver asks. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';

/** As many as glibc's resolver uses (`MAXNS`). */
const MAX_NAMESERVERS = 3;

/**
 * The configured servers, or those of a resolv.conf file.
 * @throws SkerryError `invalid-argument` when a configured one is not an IP address.
 */
export async function nameservers(
  configured: readonly string[],
  resolvConf = '/etc/resolv.conf',
): Promise<string[]> {
  for (const address of configured) {
    if (isIP(address) === 0) {
      throw new SkerryError('invalid-argument', `The nameserver "${address}" is not an IP address.`);
    }
  }
  if (configured.length > 0) return configured.slice(0, MAX_NAMESERVERS);
  const text = await readFile(resolvConf, 'utf8').catch(() => '');
  return [...text.matchAll(/^nameserver\s+(\S+)/gm)]
    .map((match) => (match[1] ?? '').replace(/%.*$/, ''))
    .filter((address) => isIP(address) !== 0)
    .slice(0, MAX_NAMESERVERS);
}
