/** Tokens but the owner's: what each may do, until when, and what its sandboxes take of its quotas. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { bytes } from '../format.ts';
import { useAsked, useWork } from '../hooks.ts';
import { Ago, Count, Danger, Failure, Heading, Table, useSearch, When } from '../parts.tsx';
import { get, send, session } from '../session.ts';

const REFRESH_MS = 10_000;
const DAY_MS = 86_400_000;
const MIB = 2 ** 20;

interface Quotas {
  readonly maxSandboxes?: number;
  readonly maxMilliCpu?: number;
  readonly maxMemoryMiB?: number;
  readonly maxDiskMiB?: number;
  readonly createsPerMinute?: number;
}

/** As `GET /skerry/v1/tokens` has it. */
interface Token {
  readonly tokenId: string;
  readonly label: string;
  readonly scope: string;
  readonly createdAtMs: number;
  readonly expiresAtMs?: number;
  readonly quotas: Quotas;
  readonly taken: {
    readonly sandboxes: number;
    readonly milliCpu: number;
    readonly memoryMiB: number;
    readonly diskMiB: number;
  };
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
                setMade(secret);
                setMaking(false);
                again();
              }}
            />
          )}
        </details>
      )}
      {made && <Secret key={made} secret={made} onDone={() => setMade(undefined)} />}
      <search class="tools">{search.field}</search>
      <Failure of={error ?? revoking.failed} />
      <Count of={search.found?.length} all={value?.tokens.length} />
      <Table
        label="Tokens"
        heads={[
          ...['Token', 'Scope', 'Age', 'Expires', 'Sandboxes', 'CPU', 'Memory', 'Disk'],
          ...['Creates a minute', 'Actions'],
        ]}
      >
        {search.found?.map(({ tokenId, label, scope, createdAtMs, expiresAtMs, quotas, taken }) => (
          <tr key={tokenId}>
            <th scope="row">
              {label || tokenId}
              {label && <small>{tokenId}</small>}
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
            <td>
              <Danger
                verb="Revoke"
                what={label || tokenId}
                loses={
                  tokenId === session()?.tokenId
                    ? 'You are signed in with it, and will be signed out.'
                    : 'Who uses it is refused from now on, and what it is being used for ends. Sandboxes that it made go on.'
                }
                disabled={revoking.busy}
                onConfirm={() =>
                  revoking.start(() => send('DELETE', `/skerry/v1/tokens/${tokenId}`).then(again))
                }
              />
            </td>
          </tr>
        ))}
      </Table>
      {value?.tokens.length === 0 && <p class="quiet">There is none but the owner’s.</p>}
    </>
  );
}

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

const SCOPES = {
  read: 'looks at everything, changes nothing',
  sandboxes: 'all that programs do',
  admin: 'all that the operator does, tokens included',
};

/** By the name of a field: its label, the step of its values, and how many of the server's units one of them is. */
const QUOTAS = {
  maxSandboxes: { title: 'Sandboxes at once', step: 1, unit: 1 },
  maxMilliCpu: { title: 'CPU, cores', step: 0.1, unit: 1000 },
  maxMemoryMiB: { title: 'Memory, MiB', step: 1, unit: 1 },
  maxDiskMiB: { title: 'Disk, MiB', step: 1, unit: 1 },
  createsPerMinute: { title: 'Creates a minute', step: 1, unit: 1 },
} as const satisfies Record<keyof Quotas, object>;

/** What a token is to be. @param onMade is given its id and its secret, with a colon between them */
function TokenForm({ onMade }: { onMade: (secret: string) => void }) {
  const [scope, setScope] = useState<keyof typeof SCOPES>('sandboxes');
  const { busy, failed, start } = useWork();
  const make = async (form: HTMLFormElement) => {
    const given = new FormData(form);
    const days = Number(given.get('days'));
    const quotas = Object.entries(QUOTAS).flatMap(([name, { unit }]) => {
      const count = Number(given.get(name) ?? 0);
      return count > 0 ? [[name, Math.round(count * unit)]] : [];
    });
    const { tokenId, tokenSecret } = await send<{ tokenId: string; tokenSecret: string }>(
      'POST',
      '/skerry/v1/tokens',
      {
        label: String(given.get('label')).trim(),
        scope,
        ...(days > 0 && { expiresAtMs: Date.now() + days * DAY_MS }),
        quotas: Object.fromEntries(quotas),
      },
    );
    onMade(`${tokenId}:${tokenSecret}`);
  };
  return (
    <>
      <form
        class="fields"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          start(() => make(form));
        }}
      >
        <label>
          Label
          <input name="label" maxLength={64} placeholder="whom or what it is for" autocomplete="off" />
        </label>
        <label>
          Scope
          <select
            value={scope}
            // Its values are those below.
            onChange={(event) => setScope(event.currentTarget.value as keyof typeof SCOPES)}
          >
            {Object.keys(SCOPES).map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
          <small>{SCOPES[scope]}</small>
        </label>
        <label>
          Expires
          <select name="days">
            <option value="0">never</option>
            {[1, 7, 30, 90, 365].map((days) => (
              <option key={days} value={days}>
                in {days} {days === 1 ? 'day' : 'days'}
              </option>
            ))}
          </select>
        </label>
        {/* The server refuses quotas of who can make tokens without. */}
        <fieldset disabled={scope === 'admin'}>
          <legend>What its sandboxes may take together; empty: as much as they like</legend>
          {Object.entries(QUOTAS).map(([name, { title, step }]) => (
            <label key={name}>
              {title}
              <input type="number" name={name} min={step} step={step} inputMode="decimal" />
            </label>
          ))}
        </fieldset>
        <button type="submit" class="main" disabled={busy}>
          Make it
        </button>
      </form>
      <Failure of={failed} />
    </>
  );
}

/** The one time that it can be seen. */
function Secret({ secret, onDone }: { secret: string; onDone: () => void }) {
  const field = useRef<HTMLInputElement>(null);
  const copying = useWork();
  const [copied, setCopied] = useState(false);
  useEffect(() => field.current?.select(), []);
  // Pages without TLS, but for the machine's own, have no clipboard.
  const clipboard: Clipboard | undefined = navigator.clipboard;
  return (
    <section class="made" aria-labelledby="made">
      <h2 id="made">A token was made</h2>
      <p>
        Keep it now: the server has no more than its hash, and shows it never again. What stands before the
        colon is <code>MODAL_TOKEN_ID</code>, what stands behind it <code>MODAL_TOKEN_SECRET</code>.
      </p>
      <div class="tools">
        <input ref={field} readOnly value={secret} aria-label="Id and secret" spellcheck={false} />
        {clipboard && (
          <button
            type="button"
            onClick={() => copying.start(() => clipboard.writeText(secret).then(() => setCopied(true)))}
          >
            Copy
          </button>
        )}
        <button type="button" onClick={onDone}>
          I have it
        </button>
        <span role="status">{copied && 'Copied.'}</span>
      </div>
      <Failure of={copying.failed} />
    </section>
  );
}
