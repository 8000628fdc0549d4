/** All sandboxes, running and ended, as they are now. */
import { useState } from 'preact/hooks';
import type { SandboxInfo, SandboxPage } from '../../../sdk/src/index.ts';
import { hrefOf, useAsked, useEvents, useWork } from '../hooks.ts';
import { useImageNames } from '../image-names.ts';
import { Ago, Danger, Failure, Heading, SearchField, State, Table } from '../parts.tsx';
import { get, send } from '../session.ts';
import { useUsage } from '../usage.ts';

/** What has no event of its own: names, tags. */
const REFRESH_MS = 10_000;
/** Of those that are shown; a search looks through them. */
const LIMIT = 500;

export function Sandboxes() {
  const [search, setSearch] = useState('');
  const [includeEnded, setIncludeEnded] = useState(false);
  const { value, error, again } = useAsked(
    (signal) => get<SandboxPage>(`/v1/sandboxes?limit=${LIMIT}&includeEnded=${includeEnded}`, signal),
    String(includeEnded),
    REFRESH_MS,
  );
  useEvents(again);
  const names = useImageNames();
  const usage = useUsage();
  const stopping = useWork();
  const shown = value?.sandboxes.filter((sandbox) => matches(sandbox, names(sandbox.imageId), search));
  return (
    <>
      <Heading>Sandboxes</Heading>
      <search class="tools">
        <SearchField placeholder="id, name, image, tag, state" value={search} onChange={setSearch} />
        <label>
          <input
            type="checkbox"
            checked={includeEnded}
            onChange={(event) => setIncludeEnded(event.currentTarget.checked)}
          />{' '}
          also ended ones
        </label>
      </search>
      <Failure of={error ?? stopping.failed} />
      <p role="status" class="quiet">
        {shown && `${shown.length} of ${value?.sandboxes.length}${value?.nextCursor ? ' newest' : ''}`}
      </p>
      <Table
        label="Sandboxes"
        heads={['Sandbox', 'State', 'Image', 'Age', 'CPU', 'Memory', 'Isolation', 'Tags', 'Actions']}
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
            <td>{sandbox.isolation ?? '–'}</td>
            <td>{tagsOf(sandbox).join(' ')}</td>
            <td>
              {sandbox.status !== 'ended' && (
                <Danger
                  verb="Stop"
                  what={sandbox.name ?? sandbox.id}
                  loses="What runs in it ends, and its files are gone."
                  disabled={stopping.busy}
                  onConfirm={() =>
                    stopping.start(() => send('DELETE', `/v1/sandboxes/${sandbox.id}`).then(again))
                  }
                />
              )}
            </td>
          </tr>
        ))}
      </Table>
      {shown?.length === 0 && (
        <p class="quiet">
          {search === '' ? 'No sandbox runs. A first one: ' : 'None of them matches.'}
          {search === '' && <code>skerry run -- echo hello</code>}
        </p>
      )}
    </>
  );
}

const tagsOf = ({ tags }: SandboxInfo): string[] =>
  Object.entries(tags).map(([key, value]) => `${key}=${value}`);

/** All words of the search must be somewhere. */
function matches(sandbox: SandboxInfo, image: string, search: string): boolean {
  const { id, name, status, isolation, imageId } = sandbox;
  const text = [id, name, status, isolation, image, imageId, ...tagsOf(sandbox)].join(' ').toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
