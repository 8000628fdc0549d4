/** The generated /etc/hosts, /etc/hostname and /etc/resolv.conf of an instance. They are the sandbox's to edit; snapshots do not hold them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceLayout } from './layout.ts';

/** RFC 1123 labels, as long as the kernel's `__NEW_UTS_LEN` allows. */
const hostnamePattern =
  /^(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/;

/** @throws SkerryError `invalid-argument` for a hostname that is none. */
export async function writeEtcFiles(
  places: InstanceLayout,
  values: { readonly hostname: string; readonly address: string; readonly resolver: string },
): Promise<void> {
  const { hostname, address, resolver } = values;
  if (!hostnamePattern.test(hostname)) {
    throw new SkerryError('invalid-argument', `"${hostname.slice(0, 80)}" is not a hostname.`);
  }
  const write = (name: string, text: string) => writeFile(join(places.etcDir, name), text, { mode: 0o644 });
  await Promise.all([
    write(
      'hosts',
      `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${address}\t${hostname}\n`,
    ),
    write('hostname', `${hostname}\n`),
    write('resolv.conf', `nameserver ${resolver}\n`),
  ]);
}
