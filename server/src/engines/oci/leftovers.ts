/**
 * What an earlier server left on the machine and this one could not remove. It is put aside and noted here for `skerry doctor`: never a reason not to
 * start. It is tried again, and every start tries again.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { toSkerryError } from '../../errors/skerry-error.ts';
import type { Logger } from '../../telemetry/logger.ts';

const schema = z.array(z.object({ what: z.string(), reason: z.string() }));

export type Leftover = z.infer<typeof schema>[number];

export class Leftovers {
  readonly #file: string;
  readonly #logger: Logger;
  #noted: readonly Leftover[] = [];

  /** @param file where the notes are kept; those of the start before are forgotten */
  constructor(file: string, logger: Logger) {
    this.#file = file;
    this.#logger = logger;
    rmSync(file, { force: true });
  }

  /** `what` could not be removed because of `error`. */
  note(what: string, error: unknown): void {
    const { message } = toSkerryError(error);
    this.#logger.error({ what, err: error }, 'leftover.put-aside');
    this.#write([...this.#noted, { what, reason: message }]);
  }

  /** It could be removed after all. */
  forget(what: string): void {
    this.#write(this.#noted.filter((each) => each.what !== what));
  }

  #write(notes: readonly Leftover[]): void {
    this.#noted = notes;
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    writeFileSync(this.#file, JSON.stringify(notes));
  }

  /** The notes of the last start; none when there are none or they cannot be read. */
  static read(file: string): readonly Leftover[] {
    try {
      return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
    } catch {
      return [];
    }
  }
}
