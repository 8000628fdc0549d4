/** The sandboxes' resolver: a process of its own (`resolver/` in the clone), replaced without losing a question. */
import type { Logger } from '../telemetry/logger.ts';
import { HostProcess, meetProcess, type ProcessHome, type ProcessPlace } from './host-process.ts';

export type ResolverPlace = ProcessPlace;

export interface ResolverOptions extends ProcessHome {
  /** Who it runs as once it has its sockets; undefined leaves it who this process is. */
  readonly user: number | undefined;
  readonly logger: Logger;
  /** Others than the program's own bounds (`resolver/src/settings.rs`), for tests. */
  readonly bounds?: Readonly<Record<string, number>>;
  /** Address of one who asks for many sandboxes, and divides among them (`egress.ts`). */
  readonly relay?: string;
}

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** systemd's table of user ids calls these unused: nobody on the machine is who such a process is, nor anybody in a sandbox (`platform/id-ranges.ts`). */
const FIRST_USER = 0x7fff0000;
const USERS = 0x8000;

/** The user that the resolver of a server runs as. @param instance 8 hexadecimal digits */
export const resolverUser = (instance: string): number =>
  FIRST_USER + (Number.parseInt(instance, 16) % USERS);

/** The user that the egress proxy of a server runs as. */
export const egressUser = (instance: string): number =>
  FIRST_USER + (((Number.parseInt(instance, 16) ^ (USERS >> 1)) >>> 0) % USERS);

/** The process id of the one that listens there. */
export async function resolverPid(controlSocket: string): Promise<number | undefined> {
  const met = await meetProcess(controlSocket, 'skerry-resolver');
  met?.link.destroy();
  return met?.pid;
}

const formatEndpoint = ({ address, port }: Endpoint): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** What says a program of the host who it becomes, and which bounds it has. */
export const commonArguments = (
  user: number | undefined,
  bounds: Readonly<Record<string, number>> = {},
): readonly string[] => [
  ...(user === undefined ? [] : ['--user', String(user)]),
  ...Object.entries(bounds).flatMap(([name, value]) => ['--bound', `${name}=${value}`]),
];

export class ResolverProcess extends HostProcess {
  /**
   * @param at where sandboxes ask, over UDP and TCP
   * @param upstreams servers to ask, in order: the next one when one does not answer
   */
  constructor(options: ResolverOptions, at: Endpoint, upstreams: readonly Endpoint[]) {
    const { user, bounds, relay, ...home } = options;
    super({
      ...home,
      greeting: 'skerry-resolver',
      title: 'resolver',
      event: 'resolver',
      arguments: [
        ...['--listen', formatEndpoint(at)],
        ...upstreams.flatMap((upstream) => ['--upstream', formatEndpoint(upstream)]),
        ...(relay === undefined ? [] : ['--relay', relay]),
        ...commonArguments(user, bounds),
      ],
    });
  }
}
