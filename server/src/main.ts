/**
 * The server's process: configuration in, one line of JSON out when it is ready, signals. `skerry up` runs it.
 *
 *   node server/src/main.ts [--setting value ...]    serve until SIGTERM or SIGINT; sandboxes outlive it
 *   node server/src/main.ts --destroy-all [...]      end what a stopped server left and remove it from the machine
 */
import './platform/compile-cache.mjs';
import type { Config } from './config/config.ts';
import { describeError, firstError } from './errors/first-error.ts';
import { SkerryError } from './errors/skerry-error.ts';
import type { HandedOver, Server } from './server.ts';
import type { Logger } from './telemetry/logger.ts';

// Clients wait out a restart of about a second: compiled code of the last start saves half of it. Only what is imported from here on profits, where the first import did not come first
// by itself (`nodeFlags`).
const { loadConfig } = await import('./config/load-config.ts');
const { rememberExtraCaFile } = await import('./config/extra-ca.ts');
const { surviveStrayErrors } = await import('./platform/last-resort.ts');
const { launcherBinaryPath } = await import('./agent/agent-binary.ts');
const { instanceName } = await import('./engines/oci/layout.ts');
const { baseEnvironment, startCommandsWith } = await import('./platform/command.ts');
const { Launcher } = await import('./platform/launcher.ts');
const { createLogger } = await import('./telemetry/logger.ts');
const { inheritedSocket } = await import('./transport/inherited-socket.ts');
const { KeptPorts } = await import('./transport/kept-ports.ts');
const { listen } = await import('./transport/listener.ts');
const { VERSION } = await import('./version.ts');

const DESTROY_ALL = '--destroy-all';

async function main(args: readonly string[]): Promise<void> {
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

try {
  await main(process.argv.slice(2));
} catch (error) {
  const first = firstError(error);
  const known = first instanceof SkerryError;
  process.stderr.write(`skerry: ${known ? first.message : describeError(error)}\n`);
  if (known) process.stderr.write(`${first.kind.suggestion}\n`);
  if (known && first !== error) process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = 1;
}
