/** Something between a client and a `TestPostgres` that changes or holds up what it says: a socket in a directory of its own. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestPostgres } from './postgres.ts';

const SOCKET = '.s.PGSQL.5432';

export class SocketProxy {
  readonly directory: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  /** @param answer passes on what the database says, changed or later */
  static async start(
    postgres: TestPostgres,
    answer: (said: Buffer, pass: (said: Buffer) => void) => void,
  ): Promise<SocketProxy> {
    const proxy = new SocketProxy(postgres, answer);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  private constructor(postgres: TestPostgres, answer: (said: Buffer, pass: (said: Buffer) => void) => void) {
    this.directory = mkdtempSync(join(tmpdir(), 'skerry-proxy-'));
    this.#server = createServer((client) => {
      const database = connect(join(postgres.directory, SOCKET));
      for (const [one, other] of [
        [client, database],
        [database, client],
      ] as const) {
        this.#sockets.add(one);
        one.on('error', () => other.destroy());
        one.on('close', () => other.end());
      }
      client.pipe(database);
      database.on('data', (said) => answer(said, (changed) => client.write(changed)));
    });
    this.#server.listen(join(this.directory, SOCKET));
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
