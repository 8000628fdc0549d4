/**
 * Tells addresses of the operator's what happens to sandboxes. Each address has a queue of its own, in order: a message that does not arrive is sent again, later and later, and holds
 * up those behind it. It is in the store until it has arrived, so the next server goes on with what waits; one that was killed may have sent a message that the next sends again, under
 * the same id. What does not fit, or never arrives, is dropped and told to the log. Nobody waits for any of it.
 */
import { createHash, randomUUID } from 'node:crypto';
import { delay } from '../platform/wait.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import type { Logger } from '../telemetry/logger.ts';
import { deliver, type Receiver } from './deliver.ts';
import type { Message, WaitingMessages } from './repositories.ts';
import { signedHeaders } from './signature.ts';

/** Messages that wait for one address. */
const MAX_WAITING = 1000;
/** Tries of one message: about a quarter of an hour. */
const MAX_TRIES = 20;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;
/** A server that comes back sends nothing older: receivers have found out otherwise by then. */
const MAX_AGE_MS = 24 * 3_600_000;

/** Of what happens, what others are told. */
const TOLD = ['starting', 'running', 'ready', 'suspended', 'ended'] as const;
type Told = (typeof TOLD)[number];

export interface WebhooksOptions {
  /** No two have the same address. */
  readonly receivers: readonly Receiver[];
  readonly key: Uint8Array;
  /** A sandbox that is there; throws for a sidecar. */
  readonly find: (id: LifeEntry['sandboxId']) => Pick<Sandbox, 'name' | 'tags' | 'spec'>;
  readonly messages: WaitingMessages;
  readonly logger: Logger;
  readonly now: () => number;
  /** Before the first new try; 1 s by default. */
  readonly firstPauseMs?: number;
}

interface Queue {
  /** What its messages are kept by. */
  readonly key: string;
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
    const { messages, logger, now } = options;
    const keyed = options.receivers.map((receiver) => ({ receiver, key: digestOf(receiver.url) }));
    const keys = keyed.map(({ key }) => key);
    this.#store(() => {
      const dropped = messages.forget(keys, now() - MAX_AGE_MS);
      if (dropped > 0) logger.warn({ dropped }, 'webhooks.dropped-at-start');
    });
    this.#queues = keyed.map((queue) => ({
      ...{ ...queue, waiting: messages.list(queue.key), working: undefined },
    }));
  }

  /** Goes on with what an earlier server left. */
  start(): void {
    for (const queue of this.#queues) this.#begin(queue);
  }

  /** Give it to `SandboxService.follow`. */
  readonly onEntry = (entry: LifeEntry): void => {
    const kind = TOLD.find((told) => told === entry.kind);
    if (!kind) return;
    const message = this.#messageOf(kind, entry);
    for (const queue of this.#queues) this.#add(queue, message);
  };

  /** Calls off what is under way; what waits is the next server's. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#queues.map(({ working }) => working));
    const kept = this.#queues.reduce((sum, { waiting }) => sum + waiting.length, 0);
    if (kept > 0) this.#options.logger.info({ kept }, 'webhooks.kept');
  }

  #messageOf(kind: Told, { sandboxId, taskId, timeMs, sidecarOf, result }: LifeEntry): Message {
    const type = `sandbox.${kind}`;
    const data = { sandboxId, taskId, sidecarOf, ...(sidecarOf ? {} : this.#about(sandboxId)), result };
    const body = JSON.stringify({ type, timestamp: new Date(timeMs).toISOString(), data });
    return { id: `msg_${randomUUID()}`, type, body, createdAtMs: this.#options.now() };
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
    this.#store(() => this.#options.messages.add(queue.key, message));
    this.#begin(queue);
  }

  #begin(queue: Queue): void {
    if (queue.waiting.length === 0 || this.#closing.signal.aborted) return;
    queue.working ??= this.#work(queue).finally(() => {
      queue.working = undefined;
    });
  }

  /** What a full disk does not take changes nothing else: messages are sent as ever, and outlive no restart. */
  #store(write: () => void): void {
    try {
      write();
    } catch (err) {
      this.#options.logger.warn({ err }, 'webhooks.not-stored');
    }
  }

  /** Never rejects. */
  async #work({ key, receiver, waiting }: Queue): Promise<void> {
    for (let message = waiting[0]; message && !this.#closing.signal.aborted; message = waiting[0]) {
      const { id } = message;
      if (!(await this.#send(receiver, message))) continue;
      waiting.shift();
      this.#store(() => this.#options.messages.remove(key, id));
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

const digestOf = ({ href }: URL): string => createHash('sha256').update(href).digest('hex');
