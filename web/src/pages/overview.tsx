/** What a sandbox is, where the time of its start went, where its ports are, and what can be done with it. */
import { useState } from 'preact/hooks';
import type {
  ForkMade,
  SandboxEvents,
  SandboxInfo,
  SnapshotMade,
  StartupInfo,
  TunnelList,
} from '../../../sdk/src/index.ts';
import { hrefOf, useAsked, useWork } from '../hooks.ts';
import { useImageNames } from '../image-names.ts';
import { Ago, Danger, Fact, Failure, Table, When } from '../parts.tsx';
import { PhaseChart } from '../phase-chart.tsx';
import { pathOf } from '../sandbox-access.ts';
import { get, mayChange, send } from '../session.ts';
import { useUsage } from '../usage.ts';
import { Tags } from './tags.tsx';

export function Overview({ info, again }: { info: SandboxInfo; again: () => void }) {
  const names = useImageNames();
  const taken = useUsage()(info.id);
  const { id, result } = info;
  return (
    <>
      {info.status !== 'ended' && mayChange() && <Actions info={info} again={again} />}
      <dl class="facts">
        <Fact name="Id">
          <code>{id}</code>
        </Fact>
        {result && (
          <Fact name="Ended">
            {result.reason}
            {result.exitCode !== null && `, exit code ${result.exitCode}`}
            {result.message && `: ${result.message}`}
          </Fact>
        )}
        <Fact name="Image">
          <a href={hrefOf('images', info.imageId)}>{names(info.imageId)}</a>
        </Fact>
        <Fact name="Isolation">{info.isolation ?? '–'}</Fact>
        <Fact name="Created">
          <When at={info.createdAt} />
        </Fact>
        <Fact name="Running for">
          {info.endedAt === null ? (
            <Ago at={info.startedAt} />
          ) : (
            <>
              it ended <When at={info.endedAt} />
            </>
          )}
        </Fact>
        <Fact name="Processor">{taken.cpu}</Fact>
        <Fact name="Memory">{taken.memory}</Fact>
        <Fact name="Processes">{taken.processes}</Fact>
        <Fact name="Received">{taken.received}</Fact>
        <Fact name="Sent">{taken.sent}</Fact>
        <Fact name="Through its ports">{taken.ports}</Fact>
        {info.expiresAt && (
          <Fact name="Ends at the latest">
            <When at={info.expiresAt} />
          </Fact>
        )}
        <Fact name="Tags">
          <Tags info={info} again={again} />
        </Fact>
      </dl>
      <Start key={info.startedAt} id={id} />
      {info.status === 'running' && <Tunnels id={id} />}
      <Events key={info.status} id={id} />
    </>
  );
}

/** What became of an action: something new that can be looked at. */
interface Made {
  readonly what: string;
  readonly href: string;
  readonly id: string;
}

function Actions({ info: { id, name, isolation }, again }: { info: SandboxInfo; again: () => void }) {
  const { busy, failed, start } = useWork();
  const [made, setMade] = useState<Made>();
  const snapshot = async () => {
    const { imageId } = await send<SnapshotMade>('POST', `${pathOf(id)}/snapshots`);
    setMade({ what: 'Image', href: hrefOf('images', imageId), id: imageId });
  };
  const fork = async () => {
    const { sandboxes } = await send<ForkMade>('POST', `${pathOf(id)}/fork`);
    for (const copy of sandboxes) {
      setMade({ what: 'Copy', href: hrefOf('sandboxes', copy.id), id: copy.id });
    }
  };
  return (
    <>
      <div class="tools">
        <button type="button" disabled={busy} onClick={() => start(snapshot)}>
          Snapshot
        </button>
        {isolation === 'gvisor' && (
          <button type="button" disabled={busy} onClick={() => start(fork)}>
            Fork
          </button>
        )}
        <Danger
          verb="Stop"
          what={name ?? id}
          loses="What runs in it ends, and its files are gone."
          disabled={busy}
          onConfirm={() => start(() => send('DELETE', pathOf(id)).then(again))}
        />
      </div>
      <Failure of={failed} />
      <p role="status" class="quiet">
        {busy && 'Working…'}
        {!busy && made && (
          <>
            {made.what}: <a href={made.href}>{made.id}</a>
          </>
        )}
      </p>
    </>
  );
}

function Start({ id }: { id: string }) {
  const { value } = useAsked((signal) => get<StartupInfo>(`${pathOf(id)}/startup`, signal), id);
  if (!value?.startup) return null;
  const { waited, ms, phases } = value.startup;
  return (
    <>
      <h2>Its start</h2>
      <PhaseChart title={`${ms} ms, ${waited ? 'from one that waited' : 'from nothing'}`} phases={phases} />
    </>
  );
}

/** What Skerry itself has to say: bounds that were hit, what it reached when that is audited, why it ended. */
function Events({ id }: { id: string }) {
  const { value } = useAsked((signal) => get<SandboxEvents>(`${pathOf(id)}/events`, signal), id);
  if (!value || value.events.length === 0) return null;
  return (
    <>
      <h2>Events</h2>
      <Table label="Events" heads={['When', 'About', 'What']}>
        {value.events.map(({ time, kind, text }) => (
          <tr key={`${time} ${text}`}>
            <td>
              <When at={time} />
            </td>
            <td>{kind}</td>
            <td>{text}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}

function Tunnels({ id }: { id: string }) {
  const { value } = useAsked((signal) => get<TunnelList>(`${pathOf(id)}/tunnels`, signal), id);
  if (!value || value.tunnels.length === 0) return null;
  return (
    <>
      <h2>Tunnels</h2>
      <Table label="Tunnels" heads={['Port inside', 'With TLS', 'Without']}>
        {value.tunnels.map(({ port, url, plain }) => (
          <tr key={port}>
            <th scope="row">{port}</th>
            <td>
              <a href={url} target="_blank" rel="noopener noreferrer">
                {url}
              </a>
            </td>
            <td>{plain ? `${plain.host}:${plain.port}` : '–'}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}
