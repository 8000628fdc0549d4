/** All sandboxes, running and ended, as they are now. */
import type { SandboxInfo, SandboxPage } from '../../../sdk/src/index.ts';
import { hrefOf, useAsked, useEvents, useQuery, useWork } from '../hooks.ts';
import { useImageNames } from '../image-names.ts';
import { Ago, Count, Danger, Failure, Heading, State, Table, useSearch } from '../parts.tsx';
import { pathOf } from '../sandbox-access.ts';
import { get, mayChange, send } from '../session.ts';
import { useUsage } from '../usage.ts';

/** What has no event of its own: names, tags. */
const REFRESH_MS = 10_000;
/** Of those that are shown; a search looks through them. */
const LIMIT = 500;

export function Sandboxes() {
  const [ended, setEnded] = useQuery('ended');
  const includeEnded = ended !== '';
  const { value, error, again } = useAsked(
    (signal) => get<SandboxPage>(`/v1/sandboxes?limit=${LIMIT}&includeEnded=${includeEnded}`, signal),
    String(includeEnded),
    REFRESH_MS,
  );
  useEvents(again);
  const names = useImageNames();
  const usage = useUsage();
  const stopping = useWork();
  const search = useSearch(
    value?.sandboxes,
    (sandbox) => {
      const { id, name, status, isolation, imageId } = sandbox;
      return [id, name, status, isolation, names(imageId), imageId, ...tagsOf(sandbox)];
    },
    'id, name, image, tag, state',
  );
  const shown = search.found;
  return (
    <>
      <Heading>Sandboxes</Heading>
      <search class="tools">
        {search.field}
        <label>
          <input
            type="checkbox"
            checked={includeEnded}
            onChange={(event) => setEnded(event.currentTarget.checked ? 'too' : '')}
          />{' '}
          also ended ones
        </label>
      </search>
      <Failure of={error ?? stopping.failed} />
      <Count of={shown?.length} all={value?.sandboxes.length} more={value?.nextCursor != null} />
      <Table
        label="Sandboxes"
        heads={[
          ...['Sandbox', 'State', 'Image', 'Age', 'CPU', 'Memory', 'Network', 'Isolation', 'Tags'],
          ...(mayChange() ? ['Actions'] : []),
        ]}
      >
        {shown?.map((sandbox) => (
          <tr key={sandbox.id}>
            <th scope="row">
              <a href={hrefOf('sandboxes', sandbox.id)}>{sandbox.name ?? sandbox.id}</a>
              {sandbox.name !== null && <small>{sandbox.id}</small>}
            </th>
            <td>
              <State of={sandbox.status} />
              {sandbox.result && <small>{sandbox.result.reason}</small>}
            </td>
            <td>
              <a href={hrefOf('images', sandbox.imageId)}>{names(sandbox.imageId)}</a>
            </td>
            <td>
              <Ago at={sandbox.startedAt ?? sandbox.createdAt} />
            </td>
            <td>{usage(sandbox.id).cpu}</td>
            <td>{usage(sandbox.id).memory}</td>
            <td>
              {usage(sandbox.id).network.map((way) => (
                <div key={way}>{way}</div>
              ))}
            </td>
            <td>{sandbox.isolation ?? '–'}</td>
            <td>{tagsOf(sandbox).join(' ')}</td>
            {mayChange() && (
              <td>
                {sandbox.status !== 'ended' && (
                  <Danger
                    verb="Stop"
                    what={sandbox.name ?? sandbox.id}
                    loses="What runs in it ends, and its files are gone."
                    disabled={stopping.busy}
                    onConfirm={() => stopping.start(() => send('DELETE', pathOf(sandbox.id)).then(again))}
                  />
                )}
              </td>
            )}
          </tr>
        ))}
      </Table>
      {shown?.length === 0 && <Nothing search={search.text.trim()} />}
    </>
  );
}

/** Why none is shown. One that is not among the newest is found by its id. */
const Nothing = ({ search }: { search: string }) => (
  <p class="quiet">
    {search === '' ? (
      <>
        No sandbox runs. A first one: <code>skerry run -- echo hello</code>
      </>
    ) : (
      'None of them matches.'
    )}
    {/^sb-\w+$/.test(search) && (
      <>
        {' '}
        <a href={hrefOf('sandboxes', search)}>Open {search}</a>
      </>
    )}
  </p>
);

const tagsOf = ({ tags }: SandboxInfo): string[] =>
  Object.entries(tags).map(([key, value]) => `${key}=${value}`);
