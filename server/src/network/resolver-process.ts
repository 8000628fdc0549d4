/** The sandboxes' resolver: a process of its own (`resolver/` in the clone), replaced without losing a question. */
import type { Logger } from '../telemetry/logger.ts';
import { HostProcess, type HostProcessOptions, meetProcess, type ProcessHome } from './host-process.ts';

export interface ResolverOptions extends ProcessHome {
  /** Who it runs as once it has its sockets; undefined leaves it who this process is. */
  readonly user: number | undefined;
  readonly logger: Logger;
  /** Others than the program's own bounds (`resolver/src/settings.rs`), for tests. */
  readonly bounds?: Readonly<Record<string, number>>;
  /** Address of one who asks for many sandboxes, and divides among them (`egress.ts`). */
  readonly relay?: string;
  readonly onRunning?: NonNullable<HostProcessOptions['onRunning']>;
}

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** The process id of the one that listens there. */
export async function resolverPid(controlSocket: string): Promise<number | undefined> {
  const met = await meetProcess(controlSocket, 'skerry-resolver');
  met?.link.destroy();
  return met?.pid;
}

const formatEndpoint = ({ address, port }: Endpoint): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

export class ResolverProcess extends HostProcess {
  /**
   * @param at where sandboxes ask, over UDP and TCP
   * @param upstreams servers to ask, in order: the next one when one does not answer
   */
  constructor(options: ResolverOptions, at: Endpoint, upstreams: readonly Endpoint[]) {
    const { relay, ...rest } = options;
    super({
      ...rest,
      greeting: 'skerry-resolver',
      title: 'resolver',
      event: 'resolver',
      arguments: [
        ...['--listen', formatEndpoint(at)],
        ...upstreams.flatMap((upstream) => ['--upstream', formatEndpoint(upstream)]),
        ...(relay === undefined ? [] : ['--relay', relay]),
      ],
    });
  }
}
