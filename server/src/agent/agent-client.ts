/**
 * The server's end of the agent protocol (`agent/PROTOCOL.md`): starts processes in one sandbox and finds them again after a restart, and connects to its ports.
 * Each request takes a connection of its own. Whatever is asked of an agent with which this server shares no version fails with `unimplemented`.
 */
import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import { AgentConnection, type Meet } from './agent-connection.ts';
import { type AgentFrame, encode, MAX_START_BYTES } from './frames.ts';
import { type Feature, meetAgain, type Peer, requireFeature } from './hello.ts';
import {
  type AgentProcessInfo,
  type AgentStats,
  environmentSchema,
  errorFromAgent,
  listSchema,
  parse,
  protocolError,
  type StartRequest,
  statsSchema,
} from './messages.ts';
import { openPort, type PortDuplex } from './port-stream.ts';
import { type OutputOffsets, openChannel, type ProcessChannel, type ProcessSink } from './process-channel.ts';

/** A connection that broke before the answer is replaced this often: every request may be repeated. */
const ATTEMPTS = 3;

/** Makes the request for the agent that will get it. */
type Request = (peer: Peer) => Buffer;

export class AgentClient {
  readonly #dial: (signal: AbortSignal) => Promise<Duplex>;
  readonly #logger: Logger;
  readonly #meet = meetAgain();

  /** `dial` gives a fresh connection to the agent, before HELLO was read (`Instance.dial`). */
  constructor(dial: (signal: AbortSignal) => Promise<Duplex>, logger: Logger) {
    this.#dial = dial;
    this.#logger = logger;
  }

  /**
   * Starts a process. Resolves when its program runs. Aborting leaves it open whether it was started: starting the same id again tells.
   * @throws SkerryError `program-not-found`, `program-not-executable`, `bad-workdir`, `bad-user`, `invalid-argument`, `too-large`,
   * `resource-exhausted`; `unavailable` when the agent does not answer; what `dial` throws.
   */
  start(request: StartRequest, sink: ProcessSink, signal: AbortSignal): Promise<ProcessChannel> {
    const frame = ({ version }: Peer) => {
      const bytes = encode.start(version, request);
      if (bytes.length <= MAX_START_BYTES) return bytes;
      throw new SkerryError(
        'too-large',
        'The arguments and environment of the process are longer than 8 MiB.',
      );
    };
    return this.#process(frame, { stdout: 0, stderr: 0 }, sink, signal);
  }

  /**
   * Goes on with a process that was started before, reading from `offsets`; a connection it still has is closed.
   * @throws SkerryError `not-found` when the agent does not know it, `invalid-argument` when output from there was acknowledged before.
   */
  attach(
    id: string,
    offsets: OutputOffsets,
    sink: ProcessSink,
    signal: AbortSignal,
  ): Promise<ProcessChannel> {
    const frame = ({ version }: Peer) => encode.attach(version, id, offsets.stdout, offsets.stderr);
    return this.#process(frame, offsets, sink, signal);
  }

  /**
   * Connects to a TCP server in the sandbox, wherever it listens: on 127.0.0.1, on ::1, or on an address of an interface, tried in this order.
   * @param port 1 to 65535
   * @returns a stream that half-closes like a socket, and fails with `unavailable` when it breaks; to be destroyed by its taker
   * @throws SkerryError `connection-refused`, `deadline-exceeded` when the server there does not take it within 10 s, `resource-exhausted` beyond 512 at once,
   * `unimplemented` when the agent is too old; `unavailable`, what `dial` throws
   */
  connect(port: number, signal: AbortSignal): Promise<PortDuplex> {
    return this.#again(signal, (duplex) => openPort(duplex, this.#meet, port, signal));
  }

  /** Every process the agent knows and has not been told to forget. */
  async list(signal: AbortSignal): Promise<readonly AgentProcessInfo[]> {
    return (await this.#ask(({ version }) => encode.list(version), listSchema, signal)).processes;
  }

  stats(signal: AbortSignal): Promise<AgentStats> {
    return this.#ask(({ version }) => encode.stats(version), statsSchema, signal);
  }

  /**
   * When the sandbox began, in nanoseconds after 1970 by the clock of its files: what was changed in it since has a later time.
   * @throws SkerryError `unimplemented` for an agent that gives no files away
   */
  async begun(signal: AbortSignal): Promise<bigint> {
    const request: Request = (peer) => {
      requireFeature(peer, 'files');
      return encode.stats(peer.version);
    };
    const { begun } = await this.#ask(request, statsSchema, signal);
    if (begun === undefined) throw protocolError('STATS without a beginning');
    return BigInt(begun.replace('.', ''));
  }

  /**
   * What the runtime started the agent with. No process gets any of it by itself.
   * @throws SkerryError `unimplemented` for an agent of an older version
   */
  async environment(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const request: Request = (peer) => {
      requireFeature(peer, 'environment');
      return encode.environment(peer.version);
    };
    return (await this.#ask(request, environmentSchema, signal)).variables;
  }

  /** Sends a signal to every process in the sandbox but the agent. */
  async killAll(signalNumber: number, signal: AbortSignal): Promise<void> {
    await this.#ask(({ version }) => encode.killAll(version, signalNumber), z.object({}), signal);
  }

  /** @throws SkerryError `unimplemented` for an agent of an older version, which does not have it */
  async require(feature: Feature, signal: AbortSignal): Promise<void> {
    const request: Request = (peer) => {
      requireFeature(peer, feature);
      return encode.stats(peer.version);
    };
    await this.#ask(request, statsSchema, signal);
  }

  /**
   * Has the agent of a copy of a sandbox forget whom that one's processes belonged to: they go on, and what they write is dropped. The process `id`, if there is one, can
   * be attached to, and begins to count its output, input and signals now.
   */
  async renew(id: string, signal: AbortSignal): Promise<void> {
    await this.#ask(({ version }) => encode.renew(version, id), z.object({}), signal);
  }

  #process(
    request: Request,
    offsets: OutputOffsets,
    sink: ProcessSink,
    signal: AbortSignal,
  ): Promise<ProcessChannel> {
    const options = { meet: this.#meet, logger: this.#logger, request, offsets, sink, signal };
    return this.#again(signal, (duplex) => openChannel(duplex, options));
  }

  #ask<T>(request: Request, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    return this.#again(signal, async (duplex) =>
      parse(schema, await ask(duplex, this.#meet, request, signal), 'RESULT'),
    );
  }

  async #again<T>(signal: AbortSignal, attempt: (duplex: Duplex) => Promise<T>): Promise<T> {
    for (let left = ATTEMPTS; ; left--) {
      signal.throwIfAborted();
      const duplex = await this.#dial(signal);
      try {
        return await attempt(duplex);
      } catch (error) {
        if (signal.aborted || left === 1 || toSkerryError(error).code !== 'unavailable') throw error;
        this.#logger.debug({ err: error }, 'agent.request.again');
      }
    }
  }
}

/** Sends a request that has one answer. */
function ask(duplex: Duplex, meet: Meet, request: Request, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      signal.removeEventListener('abort', onAbort);
      connection.close();
    };
    const onAbort = () => {
      settle();
      reject(signal.reason);
    };
    const connection = new AgentConnection(duplex, meet, {
      request,
      frame: (frame: AgentFrame) => {
        if (frame.type === 'error') throw errorFromAgent(frame.json);
        if (frame.type !== 'result') throw protocolError(`${frame.type} before RESULT`);
        settle();
        resolve(frame.json);
      },
      end: (error) => {
        settle();
        reject(error);
      },
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}
