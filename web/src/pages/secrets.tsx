/** Secrets: names alone. Their values never leave the server. */
import type { SecretPage } from '../../../sdk/src/index.ts';
import { useAsked } from '../hooks.ts';
import { Ago, Count, Failure, Heading, Table, useSearch } from '../parts.tsx';
import { get } from '../session.ts';

export function Secrets() {
  const { value, error } = useAsked((signal) => get<SecretPage>('/v1/secrets?limit=1000', signal), '');
  const search = useSearch(value?.secrets, ({ name, keys }) => [name, ...keys], 'name, variable');
  return (
    <>
      <Heading>Secrets</Heading>
      <p class="quiet">Names and variables. Values are encrypted on the server and shown to nobody.</p>
      <search class="tools">{search.field}</search>
      <Failure of={error} />
      <Count of={search.found?.length} all={value?.secrets.length} more={value?.nextCursor != null} />
      <Table label="Secrets" heads={['Secret', 'Variables', 'Age', 'Used']}>
        {search.found?.map(({ name, keys, createdAt, lastUsedAt }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{keys.join(', ')}</td>
            <td>
              <Ago at={createdAt} />
            </td>
            <td>
              <Ago at={lastUsedAt} />
            </td>
          </tr>
        ))}
      </Table>
      {value?.secrets.length === 0 && <p class="quiet">There are no secrets.</p>}
    </>
  );
}
