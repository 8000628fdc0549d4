/** What the sandboxes of an environment may take together, whoever makes them, its owner included. docs/decisions/0053 says why that is no isolation. */
import { z } from 'zod';
import type { EnvironmentId } from '../ids.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import { CreateRate } from './create-rate.ts';
import { type Quotas, quotasSchema } from './quotas.ts';

const SETTING = 'environment-quotas';
const keptSchema = z.record(z.string(), quotasSchema);
const NONE: Quotas = {};

export type EnvironmentQuotaSettings = KeptValues<typeof SETTING>;

export class EnvironmentQuotas {
  readonly #settings: EnvironmentQuotaSettings;
  readonly #createRate: CreateRate;
  #kept: ReadonlyMap<string, Quotas>;

  /** @param now milliseconds since the epoch */
  constructor(settings: EnvironmentQuotaSettings, now: () => number) {
    this.#settings = settings;
    this.#createRate = new CreateRate(now, 'this environment');
    this.#kept = new Map(Object.entries(keptSchema.parse(JSON.parse(settings.get(SETTING) ?? '{}'))));
  }

  of(id: EnvironmentId): Quotas {
    return this.#kept.get(id) ?? NONE;
  }

  /** In the place of those it had. They hold for what is asked for from now on: what runs is not ended. */
  set(id: EnvironmentId, quotas: Quotas): void {
    const kept = new Map(this.#kept);
    if (Object.keys(quotas).length > 0) kept.set(id, quotas);
    else if (!kept.delete(id)) return;
    this.#keep(kept);
  }

  /** Forgets those of environments that are no more: a server may have ended between one's end and that of its quotas. */
  keepOnly(ids: readonly EnvironmentId[]): void {
    const there: ReadonlySet<string> = new Set(ids);
    const kept = new Map([...this.#kept].filter(([id]) => there.has(id)));
    if (kept.size < this.#kept.size) this.#keep(kept);
  }

  /** Counts sandboxes that are about to be made in it. @throws SkerryError as `CreateRate.take` */
  countCreates(id: EnvironmentId, count = 1): void {
    this.#createRate.take(id, this.of(id).createsPerMinute ?? 0, count);
  }

  #keep(kept: ReadonlyMap<string, Quotas>): void {
    this.#settings.set(SETTING, JSON.stringify(Object.fromEntries(kept)));
    this.#kept = kept;
  }
}
