/** Puts the parts of tunnels together as the configuration says. */
import { randomInt } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { type Certificate, loadWildcardCertificate } from '../transport/certificate.ts';
import type { KeptPorts } from '../transport/kept-ports.ts';
import { isLoopback, publicHost } from '../transport/urls.ts';
import { Capacity } from './capacity.ts';
import { DomainGate } from './domain-gate.ts';
import { GatewayService, type GatewayServiceOptions } from './gateway-service.ts';
import { PortRange } from './port-range.ts';
import { Ports } from './ports.ts';
import { TunnelService, type TunnelServiceOptions } from './tunnel-service.ts';

export interface OpenTunnelsOptions
  extends Pick<TunnelServiceOptions, 'repository' | 'sandboxes' | 'follow' | 'mayEnter' | 'logger'> {
  readonly config: Config;
  readonly gateways: Pick<GatewayServiceOptions, 'repository' | 'tokens'>;
  /** The server's own. */
  readonly certificate: Certificate;
  /** Has ports stay over a restart; without it they are this process's own. */
  readonly kept?: KeptPorts;
  /** Names of the machine. */
  readonly names: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface OpenTunnels {
  readonly tunnels: TunnelService;
  readonly gateways: GatewayService;
  /** Uses the server's certificate of now, and looks whether there is a new one for the domain. */
  renewCertificates(certificate: Certificate): Promise<void>;
  close(): void;
}

/**
 * Opens the port of the domain, if there is one, and the tunnels that an earlier server had open.
 * @throws SkerryError `invalid-argument` for settings that cannot be; `unavailable` when the domain's port cannot be had
 */
export async function openTunnels(options: OpenTunnelsOptions): Promise<OpenTunnels> {
  const { config, kept, logger, names, now } = options;
  let { certificate } = options;
  const host = config.tunnelHost || config.host;
  const shared = { host, kept, logger, capacity: new Capacity(config.tunnelConnections) };
  const ports = new Ports({ ...shared, range: new PortRange(config.tunnelPorts, randomInt(0xffff)) });
  const domain = config.tunnelDomain;
  const wildcard = () =>
    loadWildcardCertificate({
      ...{
        dataDir: config.dataDir,
        certFile: config.tunnelCertFile,
        keyFile: config.tunnelKeyFile,
        domain,
        now,
      },
    });
  const gate = domain
    ? new DomainGate({
        ...shared,
        domain,
        port: config.tunnelPort,
        publicPort: config.tunnelPublicPort || config.tunnelPort,
        tls: await wildcard(),
      })
    : undefined;
  const parts = {
    ...options,
    ...{ ports, gate },
    publicHost: () => publicHost({ host, certificate }, names) ?? host,
    tls: certificate,
  };
  const tunnels = new TunnelService(parts);
  const gateways = new GatewayService({ ...parts, ...options.gateways, local: isLoopback(host) });
  await Promise.all([tunnels.recover(), gateways.recover()]);
  await gate?.open();
  kept?.dropLeft();
  return {
    ...{ tunnels, gateways },
    renewCertificates: async (next) => {
      certificate = next;
      tunnels.useCertificate(next);
      gateways.useCertificate(next);
      gate?.useCertificate(await wildcard());
    },
    close: () => {
      kept?.stay();
      gate?.close();
      tunnels.close();
      gateways.close();
    },
  };
}
