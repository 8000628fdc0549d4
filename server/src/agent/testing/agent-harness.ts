/** Runs the real agent as an ordinary child on a socket in a temporary directory, and plays the engine's part of handing out connections. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';
import { withDeadline } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { agentBinaryPath } from '../agent-binary.ts';
import { AgentClient } from '../agent-client.ts';
import type { StartRequest } from '../messages.ts';
import { Collector } from './collector.ts';

/** No test waits longer for anything. */
export const TEST_DEADLINE_MS = 60_000;

export class AgentHarness implements AsyncDisposable {
  readonly directory: string;
  readonly client: AgentClient;
  /** The agent's binary under its other name. */
  readonly fsTools: string;
  readonly #cleanup: Cleanup;
  readonly #spares: Socket[] = [];
  readonly #waiting: ((socket: Socket) => void)[] = [];
  readonly #open = new Set<Socket>();
  #server: Server | undefined;
  #nextId = 0;

  /** @param starter a command that is to start the agent, before its own */
  static async start(starter: readonly string[] = []): Promise<AgentHarness> {
    const cleanup = new Cleanup();
    const directory = await mkdtemp(join(tmpdir(), 'skerry-agent-'));
    cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
    const harness = new AgentHarness(directory, cleanup);
    cleanup.add('listener', () => harness.stopListening());
    await harness.listen();
    await copyFile(agentBinaryPath(), harness.fsTools); // a link would lead through directories that others may not enter
    const ended = new AbortController();
    // `run` kills the agent on abort; the agent's processes are killed before that.
    const [first, ...rest] = [...starter, agentBinaryPath(), harness.socketPath];
    const agent = run([first ?? '', ...rest], {
      signal: ended.signal,
      timeoutMs: 10 * TEST_DEADLINE_MS,
    });
    agent.catch(() => {});
    cleanup.add('agent', async () => {
      ended.abort();
      await agent.catch(() => {});
    });
    cleanup.add('processes', async () => {
      if (!harness.#server) await harness.listen();
      await harness.client.killAll(9, AbortSignal.timeout(TEST_DEADLINE_MS));
    });
    return harness;
  }

  private constructor(directory: string, cleanup: Cleanup) {
    this.directory = directory;
    this.#cleanup = cleanup;
    this.fsTools = join(directory, 'modal-sandbox-fs-tools');
    this.client = new AgentClient((signal) => this.dial(signal), createLogger('silent'));
  }

  get socketPath(): string {
    return join(this.directory, 'agent.sock');
  }

  /** A connection that the agent opened, before HELLO was read. */
  async dial(signal: AbortSignal): Promise<Socket> {
    for (let spare = this.#spares.shift(); spare; spare = this.#spares.shift()) {
      if (!spare.destroyed) return spare;
    }
    const coming = new Promise<Socket>((resolve) => this.#waiting.push(resolve));
    const socket = await withDeadline(coming, TEST_DEADLINE_MS, signal);
    if (!socket) throw new Error('the agent did not dial');
    return socket;
  }

  async listen(): Promise<void> {
    const server = createServer((socket) => {
      this.#open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#open.delete(socket));
      const waiting = this.#waiting.shift();
      if (waiting) waiting(socket);
      else this.#spares.push(socket);
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.socketPath, resolve);
    });
  }

  /** What a killed server leaves behind: no listener, every connection cut. */
  async stopListening(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.#spares.length = 0;
    for (const socket of this.#open) socket.destroy();
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  /** Cuts every open connection but goes on listening. */
  cutConnections(): void {
    this.#spares.length = 0;
    for (const socket of this.#open) socket.destroy();
  }

  newId(): string {
    this.#nextId += 1;
    return `p${this.#nextId}`;
  }

  /** A START with everything piped. */
  request(argv: readonly string[], more: Partial<StartRequest> = {}): StartRequest {
    return {
      id: this.newId(),
      argv,
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
      cwd: this.directory,
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
      ...more,
    };
  }

  /** Starts a process and leaves it running. */
  async start(argv: readonly string[], more: Partial<StartRequest> = {}, sink = new Collector()) {
    const process = await this.client.start(this.request(argv, more), sink, this.deadline());
    return { process, sink };
  }

  /** Runs a process to its end. */
  async exec(
    argv: readonly string[],
    more: Partial<StartRequest> & { readonly input?: Uint8Array | string } = {},
  ) {
    const { input, ...request } = more;
    const { process, sink } = await this.start(argv, {
      stdin: input === undefined ? 'null' : 'pipe',
      ...request,
    });
    if (input !== undefined) {
      // A program that does not read its input is told by its exit.
      await process.writeStdin(0, Buffer.from(input)).catch(() => {});
      await process.closeStdin().catch(() => {});
    }
    await sink.finished();
    process.release();
    return { exit: sink.exitStatus, stdout: sink.text('stdout'), stderr: sink.text('stderr'), sink };
  }

  deadline(): AbortSignal {
    return AbortSignal.timeout(TEST_DEADLINE_MS);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.run();
  }
}
