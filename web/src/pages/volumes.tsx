/** Volumes, and what they hold. */
import type { VolumePage } from '../../../sdk/src/index.ts';
import { Directory, Trail, useDirectory } from '../directory.tsx';
import { hrefOf, useAsked, useWork } from '../hooks.ts';
import { Ago, Count, Failure, Heading, Table, useSearch } from '../parts.tsx';
import { get } from '../session.ts';

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
  const at = ['volumes', name];
  const base = `/v1/volumes/${encodeURIComponent(name)}/files`;
  const { value, error } = useDirectory(base, path);
  const work = useWork();
  return (
    <>
      <Heading>{name}</Heading>
      <Trail of={at} path={path} />
      <Failure of={error ?? work.failed} />
      <p role="status" class="quiet">
        {value?.entries.length === 0 && 'Nothing is in it.'}
      </p>
      <Directory of={at} base={base} entries={value?.entries} work={work} />
    </>
  );
}
