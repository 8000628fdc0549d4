/** The egress proxy as a process of this machine. */
import type { Logger } from '../telemetry/logger.ts';
import type { EgressOptions } from './egress.ts';
import { HostProcess, type ProcessHome } from './host-process.ts';

export interface EgressProcessOptions extends ProcessHome {
  /** Path of the network namespace it runs in, which exists when it is opened. */
  readonly namespacePath: string;
  /** Its address there, where sandboxes' packets are led to. */
  readonly address: string;
  /** Where the machine's resolver answers. */
  readonly resolver: string;
  /** Who it runs as; undefined leaves it who this process is. */
  readonly user: number | undefined;
  readonly logger: Logger;
}

const DNS_PORT = 53;

export const egressProcess =
  ({ namespacePath, address, resolver, ...rest }: EgressProcessOptions): EgressOptions['host'] =>
  (onRunning) =>
    new HostProcess({
      ...rest,
      greeting: 'skerry-egress',
      title: 'egress proxy',
      event: 'egress',
      enter: ['nsenter', `--net=${namespacePath}`, '--'],
      arguments: ['--listen', address, '--resolver', `${resolver}:${DNS_PORT}`],
      onRunning,
    });
