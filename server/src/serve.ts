/** The server's process: configuration in, one line of JSON out when it is ready, signals. `main.ts` is what starts it. */

import { launcherBinaryPath } from './agent/agent-binary.ts';
import type { Config } from './config/config.ts';
import { rememberExtraCaFile } from './config/extra-ca.ts';
import { loadConfig } from './config/load-config.ts';
import { instanceName } from './engines/oci/layout.ts';
import { describeError, firstError } from './errors/first-error.ts';
import { SkerryError } from './errors/skerry-error.ts';
import { baseEnvironment, startCommandsWith } from './platform/command.ts';
import { surviveStrayErrors } from './platform/last-resort.ts';
import { Launcher } from './platform/launcher.ts';
import type { HandedOver, Server } from './server.ts';
import type { Logger } from './telemetry/logger.ts';
import { createLogger } from './telemetry/logger.ts';
import { inheritedSocket } from './transport/inherited-socket.ts';
import { KeptPorts } from './transport/kept-ports.ts';
import { listen } from './transport/listener.ts';
import { VERSION } from './version.ts';

const DESTROY_ALL = '--destroy-all';

/** Serves until SIGTERM or SIGINT, or takes off the machine what a stopped server left. Never rejects: the process says what went wrong, and its status that something did. */
export async function serve(args: readonly string[]): Promise<void> {
  try {
    await untilStopped(args);
  } catch (error) {
    const first = firstError(error);
    const known = first instanceof SkerryError;
    process.stderr.write(`skerry: ${known ? first.message : describeError(error)}\n`);
    if (known) process.stderr.write(`${first.kind.suggestion}\n`);
    if (known && first !== error) process.stderr.write(`${describeError(error)}\n`);
    process.exitCode = 1;
  }
}

async function untilStopped(args: readonly string[]): Promise<void> {
  const config = loadConfig({ argv: args.filter((arg) => arg !== DESTROY_ALL), env: process.env });
  const logger = createLogger(config.logLevel);
  surviveStrayErrors(process, logger); // the start recovers sandboxes: what goes wrong with one must not keep the server down
  const launcher = new Launcher({
    program: launcherBinaryPath(),
    whose: instanceName(config.dataDir),
    env: baseEnvironment(),
    logger,
  });
  startCommandsWith(launcher);
  if (args.includes(DESTROY_ALL)) {
    const { destroyAll } = await import('./destroy-all.ts');
    await destroyAll(config, logger);
    return launcher.close();
  }

  const listenFd = inheritedSocket(process.env, process.pid);
  const keptPorts = new KeptPorts(process.env, process.pid, logger);
  const openListener = () => listen({ host: config.host, port: config.port, listenFd });
  const server = await start(config, logger, { openListener, keptPorts, onLost: endAtOnce });
  rememberExtraCaFile(config.dataDir, config.extraCaFile);
  const stop = new Promise<NodeJS.Signals>((resolve) => {
    // systemd tells every process of a scope, and then the supervisor tells this one again.
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, resolve);
  });
  const { url, clientUrl, instance, isolation, standsBy } = server;
  // Who wants to stop the server must tell its supervisor, which would start it again; signals reach the server through it.
  const pid = process.env.SKERRY_SUPERVISED === '1' ? process.ppid : process.pid;
  const ready = {
    ready: true,
    url,
    clientUrl,
    pid,
    serverPid: process.pid,
    instance,
    isolation,
    standsBy,
    version: VERSION,
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
  logger.info({ signal: await stop }, 'server.stopping');
  await server.close();
  await launcher.close();
  process.exit(); // a start that was under way is taken up by the next server
}

async function start(config: Config, logger: Logger, parts: HandedOver): Promise<Server> {
  if (config.peerHost === '') return (await import('./server.ts')).startServer(config, logger, parts);
  return (await import('./one-of-several.ts')).startOneOfSeveral(config, logger, parts);
}

/** As if this process was killed: the supervisor starts another one. */
function endAtOnce(why: string): void {
  process.stderr.write(`skerry: this server leads no more: ${why}\n`);
  process.kill(process.pid, 'SIGKILL');
}
