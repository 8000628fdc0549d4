/**
 * Keeps a server's gateway there, the egress proxy in a Pod of its own: made when a sandbox first needs it, found again by the next server, made anew when it
 * or its node is lost. Its address is another one then.
 */
import { isIPv4 } from 'node:net';
import type { V1Pod } from '@kubernetes/client-node';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ProxyHost, RunningProxy } from '../../network/egress.ts';
import { readGreeting } from '../../network/orders.ts';
import { delay, unlessAborted } from '../../platform/wait.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { InstanceExit } from '../engine.ts';
import type { Cluster } from './cluster.ts';
import type { Credentials } from './credentials.ts';
import {
  type GatewayParts,
  gatewayName,
  gatewayPodOf,
  gatewaySecretOf,
  PROXY_CONTAINER,
} from './gateway-spec.ts';
import { Link } from './link.ts';
import { standingOf } from './pod-status.ts';

export interface GatewayPodOptions extends Omit<GatewayParts, 'agentImage' | 'owner'> {
  readonly cluster: Cluster;
  readonly credentials: Credentials;
  /** Names the image with its programs. */
  readonly image: (signal: AbortSignal) => Promise<string>;
  readonly onRunning: (running: RunningProxy) => Promise<void>;
  /** Called with each address that it has, after `onRunning`. */
  readonly onAddress: (address: string) => void;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

/** A node may have to fetch the image first. */
const START_MS = 120_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** A part of it is there already. */
const GREETING_MS = 10_000;

export class GatewayPod implements ProxyHost {
  readonly #options: GatewayPodOptions;
  readonly #name: string;
  readonly #link: Link;
  readonly #closing = new AbortController();

  constructor(options: GatewayPodOptions) {
    this.#options = options;
    this.#name = gatewayName(options);
    this.#link = new Link(this.#name, options.credentials.client);
  }

  async open(): Promise<void> {
    const { signal } = this.#closing;
    const limit = AbortSignal.timeout(START_MS);
    try {
      await this.#settle(AbortSignal.any([limit, signal]));
    } catch (error) {
      if (signal.aborted || !limit.aborted) throw error;
      throw notStarted(`It takes longer than ${START_MS / 1000} s.`);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#link.close();
  }

  async remove(): Promise<void> {
    await this.#options.cluster.removePod(this.#name);
    await this.#options.cluster.removeSecret(this.#name);
  }

  async #settle(signal: AbortSignal): Promise<void> {
    const { cluster, image, logger, onAddress, onRunning } = this.#options;
    const named = await image(signal);
    const known = cluster.known(this.#name);
    if (!known || !runs(known, named) || standingOf(known).kind === 'over') await this.#make(named, signal);
    const over = new AbortController();
    const addressed = Promise.withResolvers<string>();
    const unfollow = cluster.follow(this.#name, (pod) => {
      const standing = standingOf(pod);
      if (standing.kind === 'over') over.abort(notStarted(wordsOf(standing.exit)));
      else if (standing.address !== undefined) addressed.resolve(standing.address);
    });
    try {
      const either = AbortSignal.any([signal, over.signal]);
      const address = await unlessAborted(addressed.promise, either);
      if (!isIPv4(address)) throw notStarted(`Pods have no IPv4 address here: ${address}.`);
      await this.#link.awaitAgent(address, either);
      const link = await this.#link.dial(address, either);
      const met = await unlessAborted(readGreeting(link, 'skerry-egress', GREETING_MS), either);
      if (!met) throw notStarted('It does not say what it is.');
      logger.info({ address }, 'egress.met');
      await onRunning({ link });
      onAddress(address);
      if (link.destroyed) void this.#revive();
      else link.once('close', () => void this.#revive()).resume();
    } finally {
      unfollow();
    }
  }

  async #make(agentImage: string, signal: AbortSignal): Promise<void> {
    const { cluster, credentials } = this.#options;
    await this.remove();
    signal.throwIfAborted();
    const secret = gatewaySecretOf(this.#options, await credentials.forLink(this.#name));
    const owner = await cluster.createSecret(secret);
    await cluster.createPod(gatewayPodOf({ ...this.#options, agentImage, owner }));
  }

  async #revive(): Promise<void> {
    const { signal } = this.#closing;
    if (signal.aborted) return;
    this.#options.logger.warn({}, 'egress.lost');
    for (let pause = FIRST_PAUSE_MS; !signal.aborted; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        return await this.open();
      } catch (err) {
        if (!signal.aborted) this.#options.logger.warn({ err }, 'egress.start-failed');
      }
      await delay(pause, signal).catch(() => {}); // closed
    }
  }
}

const runs = (pod: V1Pod, image: string): boolean =>
  pod.spec?.containers.find(({ name }) => name === PROXY_CONTAINER)?.image === image;

const wordsOf = (exit: InstanceExit): string =>
  exit.reason === 'crashed' ? exit.message : `${exit.reason}.`;

const notStarted = (why: string): SkerryError =>
  new SkerryError('unavailable', `The gateway of sandboxes did not start. ${why}`);
