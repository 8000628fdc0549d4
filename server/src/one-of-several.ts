/**
 * A server that shares its database with others: one leads, which is a server as if it were alone, and the others stand by. They have the leader answer what
 * comes to them, and one takes over when it is gone, as a server does that is started again (decision 0069).
 */
import type { Config } from './config/config.ts';
import { instanceName } from './engines/oci/layout.ts';
import { SkerryError } from './errors/skerry-error.ts';
import { Meanwhile } from './meanwhile.ts';
import { repeat } from './platform/repeat.ts';
import { delay } from './platform/wait.ts';
import { type HandedOver, type Server, startServer } from './server.ts';
import { checkPair } from './store/data-directory.ts';
import type { Leader } from './store/postgres/leader.ts';
import { Leadership, type Turn } from './store/postgres/leadership.ts';
import type { Logger } from './telemetry/logger.ts';
import { localUrl } from './transport/urls.ts';

/** How often a server that stands by looks who leads. */
const LOOK_MS = 1_000;
/** After a turn in which this server could not begin to lead. */
const PAUSE_MS = 1_000;

/**
 * Starts one: it leads when it is the first, and stands by otherwise.
 * @throws SkerryError as `startServer`; `unavailable` when the database does not answer; `conflict` for another data directory than the others';
 * `invalid-argument` without a database that several can have
 */
export async function startOneOfSeveral(config: Config, logger: Logger, parts: HandedOver): Promise<Server> {
  if (config.databaseUrl === '') {
    const said = 'peerHost is for servers that share a database: name it (SKERRY_DATABASE_URL).';
    throw new SkerryError('invalid-argument', said);
  }
  const leadership = new Leadership({ url: config.databaseUrl, passwordFile: config.databasePasswordFile });
  const turn = await leadership.tryTurn();
  if (turn) return startInTurn(turn, config, logger, parts);
  try {
    checkPair(config.dataDir, await leadership.setting('data-directory'));
    parts.keptPorts.dropLeft(); // of tunnels, which are the leader's
    return await standBy(leadership, config, logger, parts);
  } catch (error) {
    leadership.close();
    throw error;
  }
}

async function startInTurn(turn: Turn, config: Config, logger: Logger, parts: HandedOver): Promise<Server> {
  try {
    return { ...(await startServer(config, logger, parts)), standsBy: false };
  } finally {
    await turn.end();
  }
}

async function standBy(
  leadership: Leadership,
  config: Config,
  logger: Logger,
  parts: HandedOver,
): Promise<Server> {
  const { host, dataDir } = config;
  const listener = await parts.openListener();
  const closing = new AbortController();
  let leader: Leader | undefined;
  let leading: Server | undefined;
  const { onLost } = parts;
  const meanwhile = new Meanwhile(config, logger, { listener, leader: () => leader, onLost });
  const look = async () => {
    // While the database is away, the last one that led does.
    leader = await leadership.leader().catch(() => leader);
    meanwhile.look();
  };
  await look();
  await meanwhile.begin();
  const looks = repeat(LOOK_MS, [{ name: 'leader', run: look }], logger);
  const stopLooking = () => {
    looks();
    leadership.close();
  };

  const takeOver = async () => {
    for (;;) {
      const turn = await leadership.turn(closing.signal);
      await meanwhile.end();
      try {
        leading = await startInTurn(turn, config, logger, { ...parts, openListener: async () => listener });
        stopLooking();
        logger.warn({ url: leading.url }, 'server.leads');
        return;
      } catch (error) {
        if (!(error instanceof SkerryError && error.code === 'conflict')) throw error;
        logger.warn({ err: error }, 'server.stands-by-again');
        await meanwhile.begin();
        await delay(PAUSE_MS, closing.signal);
      }
    }
  };
  const over = takeOver().catch((error: unknown) => {
    if (closing.signal.aborted) return;
    logger.error({ err: error }, 'server.cannot-lead');
    parts.onLost('it could not take over');
  });

  const url = localUrl({ host, port: listener.address.port });
  return {
    ...{ url, clientUrl: url, instance: instanceName(dataDir), isolation: undefined, standsBy: true },
    async close() {
      closing.abort(new SkerryError('unavailable', 'The server is shutting down.'));
      await over;
      stopLooking();
      if (leading) return leading.close();
      await meanwhile.end();
      await listener.close();
    },
  };
}
