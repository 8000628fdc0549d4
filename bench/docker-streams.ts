/** The same of Docker, by its command: each exec and each copy is a whole program's run. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../server/src/platform/command.ts';
import type { ContainerCommand } from './container-contender.ts';
import { timed } from './contender.ts';
import { startDocker } from './docker-contender.ts';
import {
  crowd,
  MiB,
  type StreamContender,
  type StreamMeasure,
  type Taken,
  WRITE_BYTES,
} from './stream-contender.ts';

const LONG_MS = 600_000;

export class DockerStreams implements StreamContender {
  readonly name = 'docker';
  readonly #docker: ContainerCommand;
  readonly #file: string;

  /** @throws Error saying why Docker cannot take part */
  static async start(options: { readonly tar: string; readonly scratch: string }): Promise<DockerStreams> {
    return new DockerStreams(await startDocker(options), join(options.scratch, 'file'));
  }

  private constructor(docker: ContainerCommand, file: string) {
    this.#docker = docker;
    this.#file = file;
  }

  async move(measure: StreamMeasure, mib: number): Promise<Taken> {
    const { idle } = this.#docker;
    switch (measure) {
      case 'stdout':
        return { ms: await timed(() => this.#readOutput(mib * MiB)) };
      case 'stdin':
        return { ms: await timed(() => this.#writeInput(mib * MiB)) };
      case 'fileWrite':
        writeFileSync(this.#file, new Uint8Array(mib * MiB));
        return { ms: await this.#copy(this.#file, `${idle}:/bench`) };
      case 'fileRead':
        return { ms: await this.#copy(`${idle}:/bench`, this.#file) };
      default:
        return measure satisfies never;
    }
  }

  async execs(count: number, atOnce: number): Promise<Taken> {
    const argv = this.#docker.command('exec', this.#docker.idle, 'true');
    return { ms: await timed(() => crowd(count, atOnce, () => run(argv))) };
  }

  close(): Promise<void> {
    return this.#docker.close();
  }

  #copy(from: string, to: string): Promise<number> {
    return timed(() => run(this.#docker.command('cp', '--quiet', from, to), { timeoutMs: LONG_MS }));
  }

  async #readOutput(bytes: number): Promise<void> {
    const { command, idle } = this.#docker;
    const [file, ...args] = command('exec', idle, 'head', '-c', String(bytes), '/dev/zero');
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let size = 0;
    for await (const chunk of child.stdout) size += chunk.length;
    if (size !== bytes) throw new Error(`${size} bytes came`);
  }

  async #writeInput(bytes: number): Promise<void> {
    const { command, idle } = this.#docker;
    const [file, ...args] = command('exec', '--interactive', idle, 'sh', '-c', 'cat > /dev/null');
    const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    const ended = once(child, 'close');
    const chunk = new Uint8Array(WRITE_BYTES);
    for (let sent = 0; sent < bytes; sent += chunk.length) {
      if (!child.stdin.write(chunk)) await once(child.stdin, 'drain');
    }
    child.stdin.end();
    await ended;
  }
}
