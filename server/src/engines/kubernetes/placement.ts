/** How long a Pod may be without a node: the cluster may have one later, when something of it ends or a machine is added. */
import type { PodUp } from './pod-status.ts';

/** Of what others have and would give back, were there fewer of them: the scheduler's words. */
const CROWDED = /Insufficient (?:cpu|memory|ephemeral-storage)|Too many pods/;

/** Whom else the scheduler could have sent away for it, which says nothing to whoever asked for it. */
const PREEMPTION = /\.? (?:no new claims to deallocate, )?preemption: .*$/s;

export class Placement {
  readonly #waitMs: number;
  readonly #giveUp: (hindrance: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #hindrance = '';

  /** @param giveUp called once no node had room for it for as long as `waitMs` */
  constructor(waitMs: number, giveUp: (hindrance: string) => void) {
    this.#waitMs = waitMs;
    this.#giveUp = giveUp;
  }

  /** To be told of each change. */
  look({ lacksRoom, hindrance = 'it does not say why' }: PodUp): void {
    this.#hindrance = hindrance.replace(PREEMPTION, '');
    if (!lacksRoom) this.end();
    else this.#timer ??= setTimeout(() => this.#giveUp(this.#hindrance), this.#waitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Whether it might find a node if Pods that have no devices went. */
export const isCrowded = ({ lacksRoom, hindrance = '' }: PodUp): boolean =>
  lacksRoom && CROWDED.test(hindrance);
