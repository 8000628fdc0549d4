/** Datagrams between network namespaces, for tests: who got which. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

const PORT = 7000;

export interface Message {
  readonly to: string;
  readonly text: string;
}

/** Prints each datagram as a line; sends what it reads and says when it has. An ICMP error for one message keeps none of the others back. */
const PROGRAM = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (message) => console.log(String(message)));
socket.on('error', () => {});
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, messages } = JSON.parse(line);
  let left = messages.length;
  const done = () => --left === 0 && console.log('sent ' + id);
  for (const { to, text } of messages) socket.send(text, ${PORT}, to, done);
});
socket.bind(${PORT}, () => console.log('ready'));
`;

/** A process that receives what is sent to any address of its namespace, and sends from it. */
export class Peer {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  #text = '';
  #sent = 0;

  /** @param enter the command that runs another one in the namespace; none for the caller's own */
  constructor(enter: readonly string[]) {
    const [command = '', ...args] = [...enter, process.execPath, '--eval', PROGRAM];
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process.stdout.on('data', (chunk) => {
      this.#text += chunk;
    });
  }

  /** Waits until this came, or `ready`. */
  async until(line: string): Promise<void> {
    while (this.count(line) === 0) await once(this.#process.stdout, 'data');
  }

  /** Done when the kernel has taken them all. */
  async send(messages: readonly Message[]): Promise<void> {
    const id = ++this.#sent;
    this.#process.stdin.write(`${JSON.stringify({ id, messages })}\n`);
    await this.until(`sent ${id}`);
  }

  count(line: string): number {
    return this.#text.split('\n').filter((one) => one === line).length;
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }
}
