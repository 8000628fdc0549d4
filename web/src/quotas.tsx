/** Quotas, of tokens and of environments: fields that set them, and how much of them is taken. */
import { bytes } from './format.ts';

const MIB = 2 ** 20;

export interface Quotas {
  readonly maxSandboxes?: number;
  readonly maxMilliCpu?: number;
  readonly maxMemoryMiB?: number;
  readonly maxDiskMiB?: number;
  readonly createsPerMinute?: number;
}

/** What sandboxes take together of what quotas bound. */
export interface Taken {
  readonly sandboxes: number;
  readonly milliCpu: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** By the name of a field: its label, the step of its values, and how many of the server's units one of them is. */
const FIELDS = {
  maxSandboxes: { title: 'Sandboxes at once', step: 1, unit: 1 },
  maxMilliCpu: { title: 'CPU, cores', step: 0.1, unit: 1000 },
  maxMemoryMiB: { title: 'Memory, MiB', step: 1, unit: 1 },
  maxDiskMiB: { title: 'Disk, MiB', step: 1, unit: 1 },
  createsPerMinute: { title: 'Creates a minute', step: 1, unit: 1 },
} as const satisfies Record<keyof Quotas, object>;

/** Fields for them, which belong into a form. @param now what they begin with */
export const QuotaFields = ({ now = {}, disabled = false }: { now?: Quotas; disabled?: boolean }) => (
  <fieldset disabled={disabled}>
    <legend>What its sandboxes may take together; empty: as much as they like</legend>
    {Object.entries(FIELDS).map(([name, { title, step, unit }]) => {
      const set = now[name as keyof Quotas]; // its names are those
      return (
        <label key={name}>
          {title}
          <input
            type="number"
            name={name}
            min={step}
            step={step}
            inputMode="decimal"
            defaultValue={set === undefined ? '' : String(set / unit)}
          />
        </label>
      );
    })}
  </fieldset>
);

/** What is in the fields. */
export function quotasOf(given: FormData): Quotas {
  const quotas = Object.entries(FIELDS).flatMap(([name, { unit }]) => {
    const count = Number(given.get(name) ?? 0);
    return count > 0 ? [[name, Math.round(count * unit)]] : [];
  });
  return Object.fromEntries(quotas);
}

export const QUOTA_HEADS = ['Sandboxes', 'CPU', 'Memory', 'Disk', 'Creates a minute'];

/** Cells below `QUOTA_HEADS`. */
export const QuotaCells = ({ quotas, taken }: { quotas: Quotas; taken: Taken }) => (
  <>
    <td>
      <Used of={quotas.maxSandboxes} now={taken.sandboxes} />
    </td>
    <td>
      <Used of={quotas.maxMilliCpu} now={taken.milliCpu} shown={(milliCpu) => `${milliCpu / 1000}`} />
    </td>
    <td>
      <Used of={quotas.maxMemoryMiB} now={taken.memoryMiB} shown={(mib) => bytes(mib * MIB)} />
    </td>
    <td>
      <Used of={quotas.maxDiskMiB} now={taken.diskMiB} shown={(mib) => bytes(mib * MIB)} />
    </td>
    <td>{quotas.createsPerMinute ?? '–'}</td>
  </>
);

/** What is taken, of how much where that is bounded. */
const Used = ({
  of,
  now,
  shown = String,
}: {
  of: number | undefined;
  now: number;
  shown?: (count: number) => string;
}) => (
  <>
    {shown(now)}
    {of !== undefined && (
      <>
        {' '}
        of {shown(of)}
        <meter min={0} max={of} high={of * 0.9} value={now} aria-label="Part of its quota" />
      </>
    )}
  </>
);
