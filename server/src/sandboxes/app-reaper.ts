/** Ends apps together with what runs in them: on request, and when their client is gone. */
import type { Apps } from '../apps/apps.ts';
import type { AppId } from '../ids.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Sandboxes } from './sandboxes.ts';

/** A client sends a heartbeat every 15 s; an app that missed eight of them has no client any more. */
const SILENCE_MS = 2 * 60 * 1000;
/** More than any server runs at once. */
const ALL = 100_000;

export interface AppReaperParts {
  readonly apps: Apps;
  readonly sandboxes: Pick<Sandboxes, 'list'>;
  readonly logger: Logger;
}

export class AppReaper {
  readonly #parts: AppReaperParts;

  constructor(parts: AppReaperParts) {
    this.#parts = parts;
  }

  /**
   * Stops an app and ends its sandboxes; resolves once they are gone. No effect on a stopped one.
   * @throws SkerryError `not-found`; what the store throws when it takes nothing: the sandboxes are gone then too, and a repeat stops the app
   */
  async stop(id: AppId): Promise<void> {
    const { apps, sandboxes, logger } = this.#parts;
    apps.get(id);
    const live = sandboxes.list({ appId: id, limit: ALL });
    try {
      apps.setState(id, 'stopped'); // first, so that no more are made in it
    } finally {
      await Promise.all(live.map((sandbox) => sandbox.terminate()));
    }
    logger.info({ appId: id, sandboxes: live.length }, 'app stopped');
  }

  /** What is left to do when the client of an app says that it goes: the app stops, unless it outlives its client. @throws as `stop` */
  async leave(id: AppId): Promise<void> {
    const { state } = this.#parts.apps.get(id);
    if (state === 'deployed' || (state === 'detached' && this.#isInUse(id))) return;
    await this.stop(id);
  }

  /**
   * Stops the apps whose client has not been heard of for two minutes. A detached one stays for as long as a sandbox runs in it. Called on a timer with
   * the time in Unix milliseconds; one app's failure does not keep the others.
   */
  async sweep(nowMs: number): Promise<void> {
    const { apps, logger } = this.#parts;
    for (const app of apps.unheardSince(nowMs - SILENCE_MS)) {
      try {
        if (app.state === 'detached' && this.#isInUse(app.id)) continue;
        await this.stop(app.id);
      } catch (error) {
        logger.error({ appId: app.id, err: error }, 'app sweep failed');
      }
    }
  }

  /** Whether a sandbox in it goes on; those that are about to end by now do not. */
  #isInUse(appId: AppId): boolean {
    return this.#parts.sandboxes.list({ appId, limit: ALL }).some(({ result }) => result === undefined);
  }
}
