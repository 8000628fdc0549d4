/** A server that sends back what it gets, for tests: on port 7, and on 53 as a name server whose answer is the question. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';

const PROGRAM = `
for (const port of [7, 53]) {
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(port, () => console.log('ready'));
  require('node:net').createServer((client) => client.on('error', () => {}).pipe(client)).listen(port, '0.0.0.0', () => console.log('ready'));
}
`;

export class Echo {
  readonly #process: ChildProcessByStdio<null, Readable, null>;
  #text = '';

  /** @param enter the command that runs another one in the server's namespace */
  constructor(enter: readonly string[]) {
    const [command = '', ...args] = [...enter, process.execPath, '--eval', PROGRAM];
    this.#process = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process.stdout.on('data', (chunk) => {
      this.#text += chunk;
    });
  }

  async ready(): Promise<void> {
    while (this.#text.split('ready').length <= 4) await once(this.#process.stdout, 'data');
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }
}
