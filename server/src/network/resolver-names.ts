/** For which names the resolver gave audited sandboxes addresses. It keeps that of those alone of whom it is told here (`resolver/src/names.rs`). */
import { isIPv4, type Socket } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';
import { Limiter } from '../platform/limiter.ts';
import type { RunningProcess } from './host-process.ts';
import { sendOrder } from './orders.ts';

const LINE = /^([0-9.]{7,15}) ([a-z0-9._-]{1,255})$/;

const silent = (): SkerryError => new SkerryError('unavailable', "The sandboxes' resolver does not answer.");

export class ResolverNames {
  readonly #audited = new Set<string>();
  readonly #orders = new Limiter(1);
  #link: Socket | undefined;

  /** Tells a process that runs from now on. */
  async met({ link }: Pick<RunningProcess, 'link'>): Promise<void> {
    this.#link = link;
    link.once('close', () => {
      if (this.#link === link) this.#link = undefined;
    });
    if (this.#audited.size > 0) await this.#tell();
  }

  /** Has it keep names for sandboxes. One that does not hear keeps none: then places have no names. */
  async keep(sandboxes: readonly string[]): Promise<void> {
    if (sandboxes.length === 0) return;
    for (const sandbox of sandboxes) this.#audited.add(sandbox);
    await this.#tell().catch(() => {});
  }

  /** Has it forget them. */
  async forget(sandbox: string): Promise<void> {
    if (this.#audited.delete(sandbox)) await this.#tell().catch(() => {});
  }

  /** Of each address the last name; none for those it was not asked for. */
  async of(sandbox: string, addresses: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (addresses.length === 0) return new Map();
    const text = await this.#send('N', [sandbox, ...addresses]);
    const found = text.split('\n').flatMap((line) => {
      const [, address = '', name] = LINE.exec(line) ?? [];
      return name !== undefined && isIPv4(address) ? [[address, name] as const] : [];
    });
    return new Map(found);
  }

  async #tell(): Promise<void> {
    await this.#send('A', [...this.#audited]);
  }

  #send(letter: string, words: readonly string[]): Promise<string> {
    return this.#orders.run(() => sendOrder(this.#link, letter, words, silent));
  }
}
