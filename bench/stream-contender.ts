/** Bytes through something that runs and execs per second in it; of a server driven with the official JavaScript client also what both cost it of the processor. */
import { readFileSync } from 'node:fs';
import type { ModalClient, Sandbox } from 'modal';
import type { TokenFile } from '../server/src/auth/token-file.ts';
import { timed } from './contender.ts';
import { benchImage, modalClient } from './modal-client.ts';
import { processorTimes } from './processor-readings.ts';

export const MiB = 1 << 20;
/** Of each piece of input that is written. */
export const WRITE_BYTES = 256 * 1024;

/** What a bench needs of a server. */
export interface DrivenServer {
  readonly url: string;
  /** Of the process that serves. */
  readonly pid: number;
  readonly token: Pick<TokenFile, 'tokenId' | 'tokenSecret'>;
  stop(): Promise<void>;
}

/** How long something took, and what it took of the server's processor time where that is known. */
export interface Taken {
  readonly ms: number;
  readonly serverMs?: number;
}

export const streamMeasures = ['stdout', 'stdin', 'fileWrite', 'fileRead'] as const;
export type StreamMeasure = (typeof streamMeasures)[number];

export interface StreamContender {
  /** As the table names it. */
  readonly name: string;
  /** Moves that many MiB. */
  move(measure: StreamMeasure, mib: number): Promise<Taken>;
  /** Runs `true` that often, so many at a time. */
  execs(count: number, atOnce: number): Promise<Taken>;
  close(): Promise<void>;
}

/** Calls `once` that often, so many at a time. */
export async function crowd(count: number, atOnce: number, once: () => Promise<unknown>): Promise<void> {
  let begun = 0;
  const work = async () => {
    while (begun++ < count) await once();
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

/** Moves that many bytes through a sandbox. What is read of a file was written before. */
export const streams: Readonly<Record<StreamMeasure, (sandbox: Sandbox, bytes: number) => Promise<void>>> = {
  stdout: async (sandbox, bytes) => {
    const process = await sandbox.exec(['head', '-c', String(bytes), '/dev/zero'], { mode: 'binary' });
    let size = 0;
    for await (const chunk of process.stdout) size += chunk.length;
    if (size !== bytes) throw new Error(`${size} bytes came`);
  },
  stdin: async (sandbox, bytes) => {
    const process = await sandbox.exec(['sh', '-c', 'cat > /dev/null'], { mode: 'binary' });
    const writer = process.stdin.getWriter();
    const chunk = new Uint8Array(WRITE_BYTES);
    for (let sent = 0; sent < bytes; sent += chunk.length) await writer.write(chunk);
    await writer.close();
    await process.wait();
  },
  fileWrite: (sandbox, bytes) => sandbox.filesystem.writeBytes(new Uint8Array(bytes), '/bench'),
  fileRead: async (sandbox, bytes) => {
    const { length } = await sandbox.filesystem.readBytes('/bench');
    if (length !== bytes) throw new Error(`the file has ${length} bytes`);
  },
};

/** Runs `true` that often in a sandbox, so many at a time. */
export const execs = (sandbox: Sandbox, count: number, atOnce: number): Promise<void> =>
  crowd(count, atOnce, async () => {
    const code = await (await sandbox.exec(['true'])).wait();
    if (code !== 0) throw new Error(`true ended with status ${code}`);
  });

/** Longer than any run: all rounds use the same sandbox. */
const LIFE_MS = 3 * 3_600_000;

export class SkerryStreams implements StreamContender {
  readonly name: string;
  readonly #server: DrivenServer;
  readonly #client: ModalClient;
  readonly #sandbox: Sandbox;

  /** Connects, and makes the sandbox that everything happens in. */
  static async start(name: string, server: DrivenServer): Promise<SkerryStreams> {
    const client = modalClient(server);
    try {
      const { app, image } = await benchImage(client);
      const sandbox = await client.sandboxes.create(app, image, { timeoutMs: LIFE_MS });
      return new SkerryStreams(name, server, client, sandbox);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  private constructor(name: string, server: DrivenServer, client: ModalClient, sandbox: Sandbox) {
    this.name = name;
    this.#server = server;
    this.#client = client;
    this.#sandbox = sandbox;
  }

  move(measure: StreamMeasure, mib: number): Promise<Taken> {
    return this.#taken(() => streams[measure](this.#sandbox, mib * MiB));
  }

  execs(count: number, atOnce: number): Promise<Taken> {
    return this.#taken(() => execs(this.#sandbox, count, atOnce));
  }

  async close(): Promise<void> {
    this.#client.close();
    await this.#server.stop();
  }

  async #taken(work: () => Promise<unknown>): Promise<Taken> {
    const before = processorTimes(this.#server.pid).own;
    const ms = await timed(work);
    return { ms, serverMs: processorTimes(this.#server.pid).own - before };
  }
}

/** What a process holds in memory, MiB. */
export function residentMiB(pid: number): number {
  const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(rss) / 1024;
}
