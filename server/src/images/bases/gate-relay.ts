/**
 * Runs a command behind a `RegistryGate`, in the empty network namespace that this program was started in: offers the gate on its loopback interface, since
 * programs know proxies only by an address.
 *
 *   node gate-relay.ts SOCKET COMMAND [ARGUMENT...]
 */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { run } from '../../platform/command.ts';

/** Whoever started this has a deadline. */
const NO_DEADLINE_MS = 0x7fffffff;

const [socketPath = '', command = '', ...args] = process.argv.slice(2);
await run(['ip', 'link', 'set', 'lo', 'up']);
const server = createServer((client) => {
  const gate = connect(socketPath);
  for (const [one, other] of [
    [client, gate],
    [gate, client],
  ] as const) {
    one.on('error', () => one.destroy());
    one.once('close', () => other.destroy());
  }
  client.pipe(gate).pipe(client);
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const address = server.address();
if (typeof address !== 'object' || !address) throw new TypeError('a TCP server has a numeric address');
const proxy = `http://127.0.0.1:${address.port}`;
const inherited = Object.entries(process.env).filter(
  (entry): entry is [string, string] => entry[1] !== undefined,
);
const { code, stdout, stderr } = await run([command, ...args], {
  env: { ...Object.fromEntries(inherited), HTTPS_PROXY: proxy, HTTP_PROXY: proxy, NO_PROXY: '' },
  okCodes: Array.from({ length: 256 }, (_, index) => index),
  timeoutMs: NO_DEADLINE_MS,
});
process.stdout.write(stdout);
process.stderr.write(stderr);
process.exitCode = code;
server.close();
