/** Tokens but the owner's: what each may do, until when, and what its sandboxes take of its quotas. */
import { useState } from 'preact/hooks';
import { FormDialog } from '../dialog.tsx';
import { useAsked, useWork } from '../hooks.ts';
import { Ago, Count, Danger, Failure, Heading, Table, useSearch, When } from '../parts.tsx';
import { QUOTA_HEADS, QuotaCells, type Quotas, type Taken } from '../quotas.tsx';
import { get, send, session } from '../session.ts';
import { RotateForm, Secret, TokenForm } from './new-token.tsx';

const REFRESH_MS = 10_000;

/** As `GET /skerry/v1/tokens` has it. */
interface Token {
  readonly tokenId: string;
  readonly label: string;
  readonly scope: string;
  readonly createdAtMs: number;
  readonly expiresAtMs?: number;
  /** Until when the secret that it had before is good as well. */
  readonly formerUntilMs?: number;
  readonly quotas: Quotas;
  readonly taken: Taken;
}

export function Tokens() {
  const { value, error, again } = useAsked(
    (signal) => get<{ tokens: readonly Token[] }>('/skerry/v1/tokens', signal),
    '',
    REFRESH_MS,
  );
  const search = useSearch(
    value?.tokens,
    ({ tokenId, label, scope }) => [tokenId, label, scope],
    'id, label, scope',
  );
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<string>();
  const revoking = useWork();
  const onMade = (secret: string) => {
    setMade(secret);
    again();
  };
  return (
    <>
      <Heading>Tokens</Heading>
      <p class="quiet">
        What other machines, programs and people sign in with. The owner’s own is not among them: nothing
        bounds it, and nothing here revokes it.
      </p>
      {value && (
        <details open={making} onToggle={(event) => setMaking(event.currentTarget.open)}>
          <summary>New token</summary>
          {making && (
            <TokenForm
              onMade={(secret) => {
                setMaking(false);
                onMade(secret);
              }}
            />
          )}
        </details>
      )}
      {made && <Secret key={made} secret={made} onDone={() => setMade(undefined)} />}
      <search class="tools">{search.field}</search>
      <Failure of={error ?? revoking.failed} />
      <Count of={search.found?.length} all={value?.tokens.length} />
      <Table label="Tokens" heads={['Token', 'Scope', 'Age', 'Expires', ...QUOTA_HEADS, 'Actions']}>
        {search.found?.map((token) => (
          <Row
            key={token.tokenId}
            token={token}
            busy={revoking.busy}
            onMade={onMade}
            onRevoke={() =>
              revoking.start(() => send('DELETE', `/skerry/v1/tokens/${token.tokenId}`).then(again))
            }
          />
        ))}
      </Table>
      {value?.tokens.length === 0 && <p class="quiet">There is none but the owner’s.</p>}
    </>
  );
}

function Row({
  token: { tokenId, label, scope, createdAtMs, expiresAtMs, formerUntilMs, quotas, taken },
  busy,
  onMade,
  onRevoke,
}: {
  token: Token;
  busy: boolean;
  onMade: (secret: string) => void;
  onRevoke: () => void;
}) {
  const name = label || tokenId;
  const isOwn = tokenId === session()?.tokenId;
  return (
    <tr>
      <th scope="row">
        {name}
        {label && <small>{tokenId}</small>}
        {formerUntilMs !== undefined && (
          <small>
            the secret before is good until <When at={formerUntilMs} />
          </small>
        )}
      </th>
      <td>{scope}</td>
      <td>
        <Ago at={createdAtMs} />
      </td>
      <td>
        {expiresAtMs === undefined && 'never'}
        {expiresAtMs !== undefined && <When at={expiresAtMs} />}
        {expiresAtMs !== undefined && expiresAtMs <= Date.now() && <small>it has expired</small>}
      </td>
      <QuotaCells quotas={quotas} taken={taken} />
      <td>
        <div class="tools">
          <FormDialog verb="Rotate" what={name} title={`Another secret for ${name}`}>
            {(close) => (
              <RotateForm
                tokenId={tokenId}
                isOwn={isOwn}
                onLeft={close}
                onMade={(secret) => {
                  close();
                  onMade(secret);
                }}
              />
            )}
          </FormDialog>
          <Danger
            verb="Revoke"
            what={name}
            loses={
              isOwn
                ? 'You are signed in with it, and will be signed out.'
                : 'Who uses it is refused from now on, and what it is being used for ends. Sandboxes that it made go on.'
            }
            disabled={busy}
            onConfirm={onRevoke}
          />
        </div>
      </td>
    </tr>
  );
}
