/**
 * A machine for `network.test.ts`: started in a network namespace of the test's own, it opens a network with two sandboxes there, flushes the ruleset of
 * that namespace, and prints as JSON who received what a sandbox sent.
 *
 *   node flushed-host.ts DIRECTORY OUTSIDE_NAMESPACE OUTSIDE_ADDRESS WATCH_MS
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { run } from '../../platform/command.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { Network } from '../network.ts';

const PORT = 7000;
const COUNT = 3;

/** Prints each datagram as a line. */
const RECEIVE = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (message) => console.log(String(message)));
socket.bind(${PORT}, () => console.log('ready'));
`;

const send = (targets: readonly string[], text: string) => `
const socket = require('node:dgram').createSocket('udp4');
let left = ${targets.length * COUNT};
const done = () => --left === 0 && socket.close();
for (const target of ${JSON.stringify(targets)})
  for (let i = 0; i < ${COUNT}; i++) socket.send(${JSON.stringify(text)}, ${PORT}, target, done);
`;

class Receiver {
  readonly #process: ChildProcessByStdio<null, Readable, null>;
  #text = '';

  constructor(enter: readonly string[]) {
    const [command = '', ...args] = [...enter, process.execPath, '--eval', RECEIVE];
    this.#process = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process.stdout.on('data', (chunk) => {
      this.#text += chunk;
    });
  }

  async until(line: string): Promise<void> {
    while (!this.#text.split('\n').includes(line)) await once(this.#process.stdout, 'data');
  }

  count(line: string): number {
    return this.#text.split('\n').filter((one) => one === line).length;
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }
}

const [directory = '', outsideNamespace = '', outside = '', watch = ''] = process.argv.slice(2);
const watchMs = Number(watch);
const network = new Network({
  instance: '0badcafe',
  subnet: '10.250.0.0/24',
  nameservers: [outside],
  allowPrivate: [],
  stateFile: join(directory, 'subnet'),
  namespaceDir: join(directory, 'n'),
  poolSize: 0,
  logger: createLogger('silent'),
  onLeft: () => {},
  watchMs,
});
await network.open([]);
const [one, other] = [await network.acquire({ kind: 'open' }), await network.acquire({ kind: 'open' })];
const device = 'sk0badcafe1';
const gateway = '10.250.0.2'; // the host's end of the first slot
const receivers = {
  host: new Receiver([]),
  neighbour: new Receiver(['nsenter', `--net=${other.namespacePath}`]),
  outside: new Receiver(['ip', 'netns', 'exec', outsideNamespace]),
};
const addresses = { host: gateway, neighbour: other.guestAddress, outside };
for (const receiver of Object.values(receivers)) await receiver.until('ready');

const arrived = async () => Number(await readFile(`/sys/class/net/${device}/statistics/rx_packets`, 'utf8'));

/** How many of the datagrams that the first sandbox sends to each of them are received. */
async function received(round: string): Promise<Record<string, number>> {
  const before = await arrived();
  const targets = Object.values(addresses);
  await run(['nsenter', `--net=${one.namespacePath}`, process.execPath, '--eval', send(targets, round)]);
  // All are at this machine's end of the cable; what the kernel lets through it has passed on by then, and before the marks that follow.
  while ((await arrived()) < before + targets.length * COUNT) await pause(5);
  const mark = `${round} over`;
  await run([process.execPath, '--eval', send(targets, mark)]);
  for (const receiver of Object.values(receivers)) await receiver.until(mark);
  return Object.fromEntries(Object.entries(receivers).map(([who, receiver]) => [who, receiver.count(round)]));
}

const results: Record<string, unknown> = { before: await received('before') };
await run(['nft', 'flush', 'ruleset']);
if (watchMs > 60_000) {
  results.flushed = await received('flushed');
  await network.setPolicy(other.slot, { kind: 'open' });
  results.mended = await received('mended');
} else {
  let round = 0;
  do results.mended = await received(`round ${++round}`);
  while (Object.values(results.mended as object).every((count) => count === 0));
}
process.stdout.write(`${JSON.stringify(results)}\n`);
for (const receiver of Object.values(receivers)) receiver.stop();
for (const { slot } of [one, other]) await network.release(slot);
await network.close();
await network.remove();
