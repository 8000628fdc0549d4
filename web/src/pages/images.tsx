/** Images: which there are, what each came out of, and what its build says, as it does. */
import { bytes, duration } from '../format.ts';
import { hrefOf, useAsked } from '../hooks.ts';
import { listImages, nameOf } from '../image-names.ts';
import { Log } from '../log.tsx';
import { Ago, Count, Failure, Heading, State, Table, useSearch } from '../parts.tsx';
import { get, lines } from '../session.ts';

const REFRESH_MS = 5_000;

export function Images() {
  const { value, error } = useAsked(listImages, '', REFRESH_MS);
  const search = useSearch(
    value?.images,
    ({ id, names, base, state }) => [id, ...names, base, state],
    'id, name, state',
  );
  return (
    <>
      <Heading>Images</Heading>
      <search class="tools">{search.field}</search>
      <Failure of={error} />
      <Count of={search.found?.length} all={value?.images.length} />
      <Table label="Images" heads={['Image', 'State', 'Size', 'Layers', 'Made', 'Used']}>
        {search.found?.map((image) => (
          <tr key={image.id}>
            <th scope="row">
              <a href={hrefOf('images', image.id)}>{nameOf(image)}</a>
              {nameOf(image) !== image.id && <small>{image.id}</small>}
              {image.names.slice(1).map((name) => (
                <small key={name}>{name}</small>
              ))}
            </th>
            <td>
              <State of={image.state} />
            </td>
            <td>{bytes(image.bytes)}</td>
            <td>{image.layers}</td>
            <td>
              <Ago at={image.createdAtMs} />
            </td>
            <td>
              <Ago at={image.lastUsedAtMs} />
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}

/** As `GET /skerry/v1/images/IMAGE/history` has it. */
interface Step {
  readonly text: string;
  readonly atMs: number;
  readonly bytes?: number;
}

export function ImageRoom({ id }: { id: string }) {
  const path = `/skerry/v1/images/${encodeURIComponent(id)}`;
  const { value: images } = useAsked(listImages, '', REFRESH_MS);
  const image = images?.images.find((each) => each.id === id);
  // One that is being built has none yet.
  const history = useAsked(
    (signal) => get<{ steps: readonly Step[] }>(`${path}/history`, signal),
    `${id} ${image?.state}`,
  );
  const most = Math.max(1, ...(history.value?.steps.map((step) => step.bytes ?? 0) ?? []));
  return (
    <>
      <Heading>{image ? nameOf(image) : id}</Heading>
      {image && (
        <p>
          <State of={image.state} />, {bytes(image.bytes)} in {image.layers}{' '}
          {image.layers === 1 ? 'layer' : 'layers'}, made <Ago at={image.createdAtMs} /> ago.{' '}
          <code>{id}</code>
        </p>
      )}
      <Failure of={image?.state === 'ready' ? history.error : undefined} />
      <h2>History</h2>
      <Table label="History" heads={['Step', 'Size', 'Made']}>
        {history.value?.steps.map((step, index) => (
          <tr key={index}>
            <th scope="row">
              <code>{step.text || '–'}</code>
            </th>
            <td>
              {step.bytes === undefined ? '–' : bytes(step.bytes)}
              <meter min={0} max={most} value={step.bytes ?? 0} aria-label="Part of the largest step" />
            </td>
            <td>
              <Ago at={step.atMs || undefined} />
            </td>
          </tr>
        ))}
      </Table>
      <h2>Build</h2>
      <BuildLog key={id} path={`${path}/logs`} />
    </>
  );
}

/** As `GET /skerry/v1/images/IMAGE/logs` has it. */
interface Line {
  readonly timeMs: number;
  readonly stream: string;
  readonly text: string;
}

const BuildLog = ({ path }: { path: string }) => (
  <Log
    label="Build log"
    follow={async (add, signal) => {
      let first: number | undefined;
      for await (const { text, stream, timeMs } of lines<Line>(path, signal)) {
        first ??= timeMs;
        add(`${duration(timeMs - first).padStart(7)}  ${text.trimEnd()}\n`, stream);
      }
      return first === undefined
        ? 'It was not built here, or long ago: there is no log.'
        : 'The build is over.';
    }}
  />
);
