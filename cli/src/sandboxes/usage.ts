/** What running sandboxes take of the machine, from one look to the next. */
import { type ConnectionOptions, Sandbox, type Usage } from '../../../sdk/src/index.ts';
import { formatColumns } from '../columns.ts';
import { printable } from '../printable.ts';
import { formatSize } from '../sizes.ts';

export interface Taken extends Usage {
  readonly name: string | null;
  /** Of one processor: 150 is one and a half. Null at the first look at it. */
  readonly cpuPercent: number | null;
}

/** Remembers the last look: what part of a processor a sandbox takes is the time between two by the time that passed. */
export class UsageMeter {
  readonly #connection: ConnectionOptions;
  #last: { readonly atMs: number; readonly cpuMs: ReadonlyMap<string, number> } | undefined;

  constructor(connection: ConnectionOptions) {
    this.#connection = connection;
  }

  /** Those that take most of the processor come first. */
  async look(): Promise<readonly Taken[]> {
    const names = new Map<string, string | null>();
    for await (const { id, info } of Sandbox.list(this.#connection)) names.set(id, info.name);
    const usage = await Sandbox.usage(this.#connection);
    const atMs = performance.now();
    const last = this.#last;
    this.#last = { atMs, cpuMs: new Map(usage.map(({ id, cpuMs }) => [id, cpuMs])) };
    const cpuPercentOf = ({ id, cpuMs }: Usage) => {
      const earlier = last?.cpuMs.get(id);
      if (!last || earlier === undefined) return null;
      return Math.max(0, Math.round(((cpuMs - earlier) / (atMs - last.atMs)) * 1000) / 10);
    };
    return usage
      .map((each) => ({ ...each, name: names.get(each.id) ?? null, cpuPercent: cpuPercentOf(each) }))
      .sort((one, other) => (other.cpuPercent ?? 0) - (one.cpuPercent ?? 0) || other.cpuMs - one.cpuMs);
  }
}

export const NOTHING_RUNS = 'No sandbox is running.\n';

export const formatTaken = (taken: readonly Taken[]): string =>
  formatColumns(
    [
      ['SANDBOX', 'NAME', 'CPU', 'CPU TIME', 'MEMORY', 'OF', 'PROCESSES', 'SENT', 'RECEIVED', 'PORTS'],
      ...taken.map((each) => [
        each.id,
        printable(each.name ?? '-'),
        each.cpuPercent === null ? '-' : `${each.cpuPercent.toFixed(1)} %`,
        `${(each.cpuMs / 1000).toFixed(1)} s`,
        formatSize(each.memoryBytes),
        sizeOrDash(each.memoryLimitMiB === null ? null : each.memoryLimitMiB * 2 ** 20),
        String(each.processes),
        sizeOrDash(each.sentBytes),
        sizeOrDash(each.receivedBytes),
        String(each.ports.connections),
      ]),
    ],
    2,
  );

const sizeOrDash = (bytes: number | null): string => (bytes === null ? '-' : formatSize(bytes));
