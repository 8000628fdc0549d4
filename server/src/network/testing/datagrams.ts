/** Datagrams between network namespaces, for tests: who got which. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';

const PORT = 7000;

/** Prints each datagram as a line. */
const RECEIVE = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (message) => console.log(String(message)));
socket.bind(${PORT}, () => console.log('ready'));
`;

/** A program that sends each text to its address. An ICMP error for one keeps none of the others back. */
export const send = (messages: readonly { readonly to: string; readonly text: string }[]): string => `
const socket = require('node:dgram').createSocket('udp4');
let left = ${messages.length};
const done = () => --left === 0 && socket.close();
for (const { to, text } of ${JSON.stringify(messages)}) socket.send(text, ${PORT}, to, done);
`;

/** A process that receives what is sent to any address of its namespace. */
export class Receiver {
  readonly #process: ChildProcessByStdio<null, Readable, null>;
  #text = '';

  /** @param enter the command that runs another one in the namespace; none for the caller's own */
  constructor(enter: readonly string[]) {
    const [command = '', ...args] = [...enter, process.execPath, '--eval', RECEIVE];
    this.#process = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process.stdout.on('data', (chunk) => {
      this.#text += chunk;
    });
  }

  /** Waits until this came, or `ready`. */
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
