/** Which ports of the machine tunnels have. */
import { SkerryError } from '../errors/skerry-error.ts';

/**
 * Gives out the ports of a range one after the other, from `start` on and around: one that was given back is not given again before all others were, so
 * that who still knows the address of a tunnel that ended does not reach somebody else's.
 */
export class PortRange {
  readonly #first: number;
  readonly #size: number;
  readonly #taken = new Set<number>();
  #next: number;

  /**
   * @param text `20000-29999`
   * @param start any whole number; which port is the first one given follows from it
   * @throws SkerryError `invalid-argument`
   */
  constructor(text: string, start: number) {
    const [first = 0, last = 0] = text.split('-').map(Number);
    if (!(first >= 1 && first <= last && last <= 0xffff)) {
      const message = `tunnelPorts must be the first and the last of a range of ports, as 20000-29999: ${text} is none.`;
      throw new SkerryError('invalid-argument', message);
    }
    this.#first = first;
    this.#size = last - first + 1;
    this.#next = start % this.#size;
  }

  /** One that nobody has. @throws SkerryError `resource-exhausted` */
  take(): number {
    for (let tried = 0; tried < this.#size; tried++) {
      const port = this.#first + this.#next;
      this.#next = (this.#next + 1) % this.#size;
      if (this.claim(port)) return port;
    }
    throw new SkerryError('resource-exhausted', `All ${this.#size} ports for tunnels are in use.`);
  }

  /** Takes one that was given out by an earlier server, in the range or not. False when somebody has it. */
  claim(port: number): boolean {
    if (this.#taken.has(port)) return false;
    this.#taken.add(port);
    return true;
  }

  free(port: number): void {
    this.#taken.delete(port);
  }
}
