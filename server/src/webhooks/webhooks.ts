/**
 * Tells addresses of the operator's what happens to sandboxes. Each address has a queue of its own, in memory, in order: a message that does not arrive is sent again, later and
 * later, and holds up those behind it. What does not fit, or never arrives, is dropped and told to the log. Nobody waits for any of it.
 */
import { randomUUID } from 'node:crypto';
import { delay } from '../platform/wait.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import type { Logger } from '../telemetry/logger.ts';
import { deliver, type Receiver } from './deliver.ts';
import { signedHeaders } from './signature.ts';

/** Messages that wait for one address. */
const MAX_WAITING = 1000;
/** Tries of one message: about a quarter of an hour. */
const MAX_TRIES = 20;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;

/** Of what happens, what others are told. */
const TOLD = ['starting', 'running', 'ready', 'suspended', 'ended'] as const;
type Told = (typeof TOLD)[number];

export interface WebhooksOptions {
  readonly receivers: readonly Receiver[];
  readonly key: Uint8Array;
  /** A sandbox that is there; throws for a sidecar. */
  readonly find: (id: LifeEntry['sandboxId']) => Pick<Sandbox, 'name' | 'tags' | 'spec'>;
  readonly logger: Logger;
  readonly now: () => number;
  /** Before the first new try; 1 s by default. */
  readonly firstPauseMs?: number;
}

interface Message {
  readonly id: string;
  readonly type: string;
  readonly body: string;
}

interface Queue {
  readonly receiver: Receiver;
  readonly waiting: Message[];
  working: Promise<void> | undefined;
}

export class Webhooks {
  readonly #options: WebhooksOptions;
  readonly #queues: readonly Queue[];
  readonly #closing = new AbortController();

  constructor(options: WebhooksOptions) {
    this.#options = options;
    this.#queues = options.receivers.map((receiver) => ({ receiver, waiting: [], working: undefined }));
  }

  /** Give it to `SandboxService.follow`. */
  readonly onEntry = (entry: LifeEntry): void => {
    const kind = TOLD.find((told) => told === entry.kind);
    if (!kind || this.#closing.signal.aborted) return;
    const message = this.#messageOf(kind, entry);
    for (const queue of this.#queues) this.#add(queue, message);
  };

  /** Calls off what is under way and drops what waits. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#queues.map(({ working }) => working));
    const dropped = this.#queues.reduce((sum, { waiting }) => sum + waiting.length, 0);
    if (dropped > 0) this.#options.logger.warn({ dropped }, 'webhooks.dropped-at-stop');
  }

  #messageOf(kind: Told, { sandboxId, taskId, timeMs, sidecarOf, result }: LifeEntry): Message {
    const type = `sandbox.${kind}`;
    const data = { sandboxId, taskId, sidecarOf, ...(sidecarOf ? {} : this.#about(sandboxId)), result };
    const body = JSON.stringify({ type, timestamp: new Date(timeMs).toISOString(), data });
    return { id: `msg_${randomUUID()}`, type, body };
  }

  #about(id: LifeEntry['sandboxId']) {
    const { name, tags, spec } = this.#options.find(id);
    return { appId: spec.appId, name, tags };
  }

  #add(queue: Queue, message: Message): void {
    if (queue.waiting.length >= MAX_WAITING) {
      this.#options.logger.warn({ to: queue.receiver.url.host, type: message.type }, 'webhooks.queue-full');
      return;
    }
    queue.waiting.push(message);
    queue.working ??= this.#work(queue).finally(() => {
      queue.working = undefined;
    });
  }

  /** Never rejects. */
  async #work({ receiver, waiting }: Queue): Promise<void> {
    for (let message = waiting[0]; message && !this.#closing.signal.aborted; message = waiting[0]) {
      if (await this.#send(receiver, message)) waiting.shift();
    }
  }

  /** @returns false when the server stops before it is known what comes of it */
  async #send(receiver: Receiver, { id, type, body }: Message): Promise<boolean> {
    const { key, now, logger, firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const { signal } = this.#closing;
    const headers = { 'content-type': 'application/json', 'user-agent': 'skerry' };
    for (let tries = 1; ; tries++) {
      const signed = signedHeaders(key, { id, atMs: now(), body });
      const delivery = await deliver(receiver, { ...headers, ...signed }, body, signal);
      if (delivery.kind === 'arrived') return true;
      if (signal.aborted) return false;
      // The path of the address may be a secret.
      const told = { to: receiver.url.host, type, tries, why: delivery.why };
      if (delivery.kind === 'refused' || tries === MAX_TRIES) {
        logger.error(told, 'webhooks.dropped');
        return true;
      }
      logger.warn(told, 'webhooks.failed');
      const pauseMs = Math.min(firstPauseMs * 2 ** (tries - 1), LONGEST_PAUSE_MS);
      if (
        await delay(pauseMs, signal).then(
          () => false,
          () => true,
        )
      )
        return false;
    }
  }
}
