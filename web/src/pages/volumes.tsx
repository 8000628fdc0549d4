/** Volumes, and what they hold. */
import type { VolumeFiles, VolumePage } from '../../../sdk/src/index.ts';
import { bytes } from '../format.ts';
import { hrefOf, useAsked, useWork } from '../hooks.ts';
import { Ago, Count, Failure, Heading, Table, useSearch, When } from '../parts.tsx';
import { download, get } from '../session.ts';
import { Trail } from '../trail.tsx';

export function Volumes() {
  const { value, error } = useAsked((signal) => get<VolumePage>('/v1/volumes?limit=1000', signal), '');
  const search = useSearch(value?.volumes, ({ id, name }) => [id, name], 'id, name');
  return (
    <>
      <Heading>Volumes</Heading>
      <search class="tools">{search.field}</search>
      <Failure of={error} />
      <Count of={search.found?.length} all={value?.volumes.length} more={value?.nextCursor != null} />
      <Table label="Volumes" heads={['Volume', 'Age']}>
        {search.found?.map(({ id, name, createdAt }) => (
          <tr key={id}>
            <th scope="row">
              <a href={hrefOf('volumes', name)}>{name}</a>
              <small>{id}</small>
            </th>
            <td>
              <Ago at={createdAt} />
            </td>
          </tr>
        ))}
      </Table>
      {value?.volumes.length === 0 && <p class="quiet">There are no volumes.</p>}
    </>
  );
}

export function VolumeRoom({ name, path }: { name: string; path: string }) {
  const base = `/v1/volumes/${encodeURIComponent(name)}/files`;
  const query = (of: string) => `?path=${encodeURIComponent(of)}`;
  const { value, error } = useAsked(
    (signal) => get<VolumeFiles>(`${base}/list${query(path)}`, signal),
    `${name} ${path}`,
  );
  const work = useWork();
  return (
    <>
      <Heading>{name}</Heading>
      <Trail of={['volumes', name]} path={path} />
      <Failure of={error ?? work.failed} />
      <p role="status" class="quiet">
        {value?.entries.length === 0 && 'Nothing is in it.'}
      </p>
      <Table label="Files" heads={['Name', 'Size', 'Changed', 'Actions']}>
        {value?.entries.map((entry) => {
          const label = entry.path.slice(entry.path.lastIndexOf('/') + 1);
          return (
            <tr key={entry.path}>
              <th scope="row">
                {entry.type === 'directory' ? (
                  <a href={hrefOf('volumes', name, entry.path)}>{label}/</a>
                ) : (
                  label
                )}
              </th>
              <td>{entry.type === 'file' ? bytes(entry.size) : '–'}</td>
              <td>
                <When at={entry.modifiedAt} />
              </td>
              <td>
                {entry.type === 'file' && (
                  <button
                    type="button"
                    onClick={() => work.start(() => download(`${base}${query(entry.path)}`, label))}
                  >
                    Download<span class="unseen"> {label}</span>
                  </button>
                )}
              </td>
            </tr>
          );
        })}
      </Table>
    </>
  );
}
