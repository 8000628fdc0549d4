/** Holes in the firewall of a test's own server: rules put before those that hold an attack, for as long as it is made. */

import { instanceName } from '../../../server/src/engines/oci/layout.ts';
import { run } from '../../../server/src/platform/command.ts';

/** Lines of nft(8), in which `TABLE` is the server's table. A line of a chain per device is repeated for each: `DEVICE`. */
export interface NetworkHole {
  readonly hole: string;
  readonly lines: (given: Readonly<Record<string, string | number>>) => readonly string[];
}

/** Makes it, uses it and closes it. The server mends what it does not know within seconds: what was too slow for that is tried again. */
export async function throughHole(
  dataDir: string,
  { lines }: NetworkHole,
  given: Readonly<Record<string, string | number>>,
  use: () => Promise<boolean>,
): Promise<void> {
  const instance = instanceName(dataDir);
  const table = `skerry_${instance}`;
  for (let tries = 1; ; tries++) {
    const devices = await devicesOf(instance);
    const script = lines(given).flatMap((line) =>
      line.includes('DEVICE') ? devices.map((device) => line.replaceAll('DEVICE', device)) : [line],
    );
    const input = `${script.join('\n').replaceAll('TABLE', table)}\n`;
    const { stdout } = await run(['nft', '--echo', '--handle', '-f', '-'], { input });
    const used = await use();
    const undo = [...stdout.matchAll(/^(?:insert|add) rule (\S+ \S+ \S+) .*# handle (\d+)$/gm)].map(
      ([, chain, handle]) => `delete rule ${chain} handle ${handle}\n`,
    );
    for (const line of undo) await run(['nft', '-f', '-'], { input: line, okCodes: [1] });
    if (used || tries === 3) return;
  }
}

async function devicesOf(instance: string): Promise<string[]> {
  const { stdout } = await run(['ip', '-o', 'link', 'show', 'type', 'veth']);
  return [...stdout.matchAll(/^\d+: (\S+?)@/gm)].flatMap(([, name = '']) =>
    name.startsWith(`sk${instance}`) ? [name] : [],
  );
}
