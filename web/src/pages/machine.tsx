/** The machine: how busy it is, what it lacks, what bounds sandboxes and takes the disk, which wait ready, and where the time of starts goes. */
import type { ComponentChildren } from 'preact';
import { bytes } from '../format.ts';
import { useAsked } from '../hooks.ts';
import { Fact, Failure, Heading, State, Table } from '../parts.tsx';
import { PhaseChart } from '../phase-chart.tsx';
import { get } from '../session.ts';

/** Counting what is on the disk takes a while. */
const DISK_MS = 60_000;
const REFRESH_MS = 5_000;

export function Machine() {
  return (
    <>
      <Heading>Machine</Heading>
      <Now />
      <Disk />
      <Pool />
      <Checks />
    </>
  );
}

/** As `GET /skerry/v1/machine` has it. */
interface MachineState {
  readonly version: string;
  readonly processors: number;
  readonly load: number;
  readonly memoryBytes: number;
  readonly freeMemoryBytes: number;
  readonly sandboxes: number;
  readonly maxSandboxes: number;
  readonly limits: readonly { readonly flag: string; readonly value: string; readonly description: string }[];
}

function Now() {
  const { value, error } = useAsked(
    (signal) => get<MachineState>('/skerry/v1/machine', signal),
    '',
    REFRESH_MS,
  );
  if (!value) return <Failure of={error} />;
  const { version, processors, load, memoryBytes, freeMemoryBytes, sandboxes, maxSandboxes } = value;
  return (
    <>
      <Failure of={error} />
      <dl class="facts">
        <Fact name="Sandboxes">
          {sandboxes} of {maxSandboxes}
        </Fact>
        <Fact name="Load">
          {load.toFixed(1)} on {processors} processors
        </Fact>
        <Fact name="Memory">
          {bytes(freeMemoryBytes)} free of {bytes(memoryBytes)}
        </Fact>
        <Fact name="Skerry">{version}</Fact>
      </dl>
      <details>
        <summary>Limits</summary>
        <Table label="Limits" heads={['Setting', 'Value', 'Meaning']}>
          {value.limits.map(({ flag, value: set, description }) => (
            <tr key={flag}>
              <th scope="row">
                <code>{flag}</code>
              </th>
              <td>{set}</td>
              <td>{description}</td>
            </tr>
          ))}
        </Table>
      </details>
    </>
  );
}

/** As `GET /skerry/v1/checks` has it. */
interface Found {
  readonly checks: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly required: boolean;
    readonly found: string;
    readonly remedy: string;
  }[];
}

/** What `skerry doctor` says of what the server needs. */
function Checks() {
  const { value, error } = useAsked((signal) => get<Found>('/skerry/v1/checks', signal), '');
  return (
    <Part title="What it needs" error={error}>
      <Table label="Checks" heads={['What', 'State', 'Found', 'What to do']}>
        {value?.checks.map(({ name, ok, required, found, remedy }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>
              <State of={ok ? 'ready' : required ? 'failed' : 'missing'} />
            </td>
            <td>{found}</td>
            <td>{ok ? '–' : remedy}</td>
          </tr>
        ))}
      </Table>
    </Part>
  );
}

/** As `GET /skerry/v1/disk` has it. */
interface DiskUse {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly parts: readonly {
    readonly what: string;
    readonly bytes: number;
    readonly count?: number;
    readonly collectableBytes?: number;
  }[];
}

function Disk() {
  const { value, error } = useAsked((signal) => get<DiskUse>('/skerry/v1/disk', signal), '', DISK_MS);
  return (
    <Part title="Disk" error={error}>
      {value && (
        <>
          <p>
            {bytes(value.freeBytes)} free of {bytes(value.sizeBytes)}{' '}
            <meter
              min={0}
              max={value.sizeBytes}
              high={value.sizeBytes * 0.9}
              value={value.sizeBytes - value.freeBytes}
              aria-label="Used"
            />
          </p>
          <Table label="Disk" heads={['What', 'Size', 'How many', 'Of that collectable']}>
            {value.parts.map((part) => (
              <tr key={part.what}>
                <th scope="row">{part.what}</th>
                <td>{bytes(part.bytes)}</td>
                <td>{part.count ?? '–'}</td>
                <td>{part.collectableBytes === undefined ? '–' : bytes(part.collectableBytes)}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Part>
  );
}

/** As `GET /skerry/v1/warm` has it. */
interface Warm {
  readonly kinds: readonly {
    readonly label: string;
    readonly runtime: string;
    readonly memoryMiB: number;
    readonly milliCpu: number;
    readonly waiting: number;
    readonly wanted: number;
    readonly hits: number;
    readonly misses: number;
  }[];
  readonly startups: readonly {
    readonly runtime: string;
    readonly waited: boolean;
    readonly count: number;
    readonly ms: number;
    readonly phases: Readonly<Record<string, number>>;
  }[];
}

function Pool() {
  const { value, error } = useAsked((signal) => get<Warm>('/skerry/v1/warm', signal), '', REFRESH_MS);
  return (
    <>
      <Part title="Waiting for whoever asks next" error={error}>
        <Table label="Warm pool" heads={['Image', 'Runtime', 'Waiting', 'Wanted', 'Given', 'Missed']}>
          {value?.kinds.map((kind, index) => (
            <tr key={index}>
              <th scope="row">{kind.label}</th>
              <td>{kind.runtime}</td>
              <td>{kind.waiting}</td>
              <td>{kind.wanted}</td>
              <td>{kind.hits}</td>
              <td>{kind.misses}</td>
            </tr>
          ))}
        </Table>
        {value?.kinds.length === 0 && <p class="quiet">None wait.</p>}
      </Part>
      <Part title="Starts" error={undefined}>
        {value?.startups.map(({ runtime, waited, count, ms, phases }) => (
          <PhaseChart
            key={`${runtime} ${waited}`}
            title={`${runtime}, ${waited ? 'waited' : 'cold'}: ${ms} ms, median of ${count}`}
            phases={phases}
          />
        ))}
        {value?.startups.length === 0 && <p class="quiet">None since the server started.</p>}
      </Part>
    </>
  );
}

const Part = ({
  title,
  error,
  children,
}: {
  title: string;
  error: string | undefined;
  children: ComponentChildren;
}) => (
  <>
    <h2>{title}</h2>
    <Failure of={error} />
    {children}
  </>
);
