/** Environments, and what the sandboxes of each may take together. */
import { DialogForm, FormDialog } from '../dialog.tsx';
import { useAsked } from '../hooks.ts';
import { Ago, Count, Failure, Heading, Table, useSearch } from '../parts.tsx';
import { QUOTA_HEADS, QuotaCells, QuotaFields, type Quotas, quotasOf, type Taken } from '../quotas.tsx';
import { get, isAdmin, send } from '../session.ts';

const REFRESH_MS = 10_000;

/** As `GET /skerry/v1/environments` has it. */
interface Environment {
  readonly name: string;
  readonly createdAtMs: number;
  readonly isDefault: boolean;
  readonly quotas: Quotas;
  readonly taken: Taken;
}

export function Environments() {
  const { value, error, again } = useAsked(
    (signal) => get<{ environments: readonly Environment[] }>('/skerry/v1/environments', signal),
    '',
    REFRESH_MS,
  );
  const search = useSearch(value?.environments, ({ name }) => [name], 'name');
  return (
    <>
      <Heading>Environments</Heading>
      <p class="quiet">
        Quotas bound what the sandboxes of one take together, whoever makes them. They keep nobody from making
        another environment.
      </p>
      <search class="tools">{search.field}</search>
      <Failure of={error} />
      <Count of={search.found?.length} all={value?.environments.length} />
      <Table
        label="Environments"
        heads={['Environment', 'Age', ...QUOTA_HEADS, ...(isAdmin() ? ['Actions'] : [])]}
      >
        {search.found?.map(({ name, createdAtMs, isDefault, quotas, taken }) => (
          <tr key={name}>
            <th scope="row">
              {name}
              {isDefault && <small>the default one</small>}
            </th>
            <td>
              <Ago at={createdAtMs} />
            </td>
            <QuotaCells quotas={quotas} taken={taken} />
            {isAdmin() && (
              <td>
                <FormDialog verb="Quotas" what={`of ${name}`} title={`Quotas of ${name}`}>
                  {(close) => (
                    <QuotaForm
                      name={name}
                      now={quotas}
                      onLeft={close}
                      onSaved={() => {
                        again();
                        close();
                      }}
                    />
                  )}
                </FormDialog>
              </td>
            )}
          </tr>
        ))}
      </Table>
    </>
  );
}

function QuotaForm({
  name,
  now,
  onSaved,
  onLeft,
}: {
  name: string;
  now: Quotas;
  onSaved: () => void;
  onLeft: () => void;
}) {
  const path = `/skerry/v1/environments/${encodeURIComponent(name)}/quotas`;
  return (
    <DialogForm
      class="fields"
      leave="Leave them"
      save="Save quotas"
      work={(given) => send('PUT', path, quotasOf(given)).then(onSaved)}
      onLeft={onLeft}
    >
      <QuotaFields now={now} />
    </DialogForm>
  );
}
