/** The network of the first machine of a `Lab`, for the programs that play its server. */
import { join } from 'node:path';
import { connectionsBinaryPath, egressBinaryPath, resolverBinaryPath } from '../../agent/agent-binary.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { ProcessHome } from '../host-process.ts';
import { Network, type NetworkOptions } from '../network.ts';
import { egressSocket, resolverSocket } from './lab.ts';
import { placeByCommand } from './resolver-place.ts';

export const INSTANCE = '0badcafe';
/** Of each sandbox. */
export const MAX_CONNECTIONS = 256;
export const SUBNET = '10.250.0.0/24';

/** Where it holds its namespaces. */
export const namespaceDir = (directory: string): string => join(directory, 'n');

/**
 * @param more an hour by default between looks at the rules: nobody looks but when a test has it do so. No secret headers
 */
export const labNetwork = (
  directory: string,
  nameserver: string,
  more: Partial<Pick<NetworkOptions, 'watchMs' | 'secretHeaders' | 'connections'>> = {},
): Network =>
  new Network({
    instance: INSTANCE,
    subnet: SUBNET,
    nameservers: [nameserver],
    allowPrivate: [],
    maxConnections: MAX_CONNECTIONS,
    connections: connectionsBinaryPath(),
    stateFile: join(directory, 'subnet'),
    namespaceDir: namespaceDir(directory),
    resolver: homeOf(resolverBinaryPath(), resolverSocket(directory)),
    egress: homeOf(egressBinaryPath(), egressSocket(directory)),
    poolSize: 0,
    isStarting: () => false,
    logger: createLogger('silent'),
    onLeft: () => {},
    watchMs: 3_600_000,
    ...more,
  });

const homeOf = (program: string, controlSocket: string): ProcessHome => ({
  program,
  controlSocket,
  place: placeByCommand(controlSocket),
});
