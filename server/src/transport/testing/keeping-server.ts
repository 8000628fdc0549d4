/**
 * Stands for a server under the real supervisor, in `supervisor.test.ts`: the first opens ports, keeps them, gives some back and is killed; the second says
 * which it has, and whether they listen where they should.
 */
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { KeptPorts } from '../kept-ports.ts';

const warn = (details: object): void => void process.stderr.write(`${JSON.stringify(details)}\n`);
const kept = new KeptPorts(process.env, process.pid, { warn });

async function listening(where: net.ListenOptions & { fd?: number }): Promise<[number, net.Server]> {
  const server = net.createServer().listen(where);
  await once(server, 'listening');
  return [(server.address() as AddressInfo).port, server]; // it listens on TCP
}

const known = (process.env.LISTEN_FDNAMES ?? '').split(':').slice(1).map(Number);
if (known.length === 0) {
  const ports: number[] = [];
  for (let count = 0; count < 6; count++) {
    const [port, server] = await listening({ port: 0, host: '127.0.0.1' });
    await kept.keep(port, server);
    ports.push(port);
    if (count === 3) for (const dropped of ports.splice(1, 2)) kept.drop(dropped);
  }
  process.stdout.write(`${ports.join(' ')}\n`);
  process.kill(process.pid, 'SIGKILL');
} else {
  for (const port of known) {
    const fd = kept.take(port);
    const [at] = fd === undefined ? [] : await listening({ fd });
    process.stdout.write(`${at === port ? port : `${port} is at ${at}`} `);
  }
  process.exit(7);
}
