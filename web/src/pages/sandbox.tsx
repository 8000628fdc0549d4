/** One sandbox: what it is, and what goes on in it. */
import type { SandboxInfo } from '../../../sdk/src/index.ts';
import { hrefOf, useAsked } from '../hooks.ts';
import { Failure, Heading, State } from '../parts.tsx';
import { pathOf } from '../sandbox-access.ts';
import { get, mayChange } from '../session.ts';
import { Files } from './files.tsx';
import { Logs } from './logs.tsx';
import { Overview } from './overview.tsx';
import { Processes } from './processes.tsx';
import { Terminal } from './terminal.tsx';

const REFRESH_MS = 2_000;

const VIEWS = [
  ['overview', 'Overview'],
  ['logs', 'Logs'],
  ['terminal', 'Terminal'],
  ['files', 'Files'],
  ['processes', 'Processes'],
] as const;

export function SandboxRoom({
  id,
  view = 'overview',
  more,
}: {
  id: string;
  view: string | undefined;
  more: string | undefined;
}) {
  const {
    value: info,
    error,
    again,
  } = useAsked((signal) => get<SandboxInfo>(pathOf(id), signal), id, REFRESH_MS);
  return (
    <>
      <Heading>{info?.name ?? id}</Heading>
      <p>{info && <State of={info.status} />}</p>
      <nav aria-label="Of this sandbox" class="views">
        {VIEWS.map(([name, title]) => (
          <a
            key={name}
            href={hrefOf('sandboxes', id, name)}
            aria-current={name === view ? 'page' : undefined}
          >
            {title}
          </a>
        ))}
      </nav>
      <Failure of={error} />
      {info && <View info={info} view={view} more={more} again={again} />}
    </>
  );
}

function View({
  info,
  view,
  more,
  again,
}: {
  info: SandboxInfo;
  view: string;
  more: string | undefined;
  again: () => void;
}) {
  const { id } = info;
  const ended = info.status === 'ended';
  switch (view) {
    case 'overview':
      return <Overview info={info} again={again} />;
    case 'logs':
      return info.hasCommand ? (
        <Logs key={id} id={id} process="entrypoint" />
      ) : (
        <p class="quiet">It was made without a command: there is no program whose output this would be.</p>
      );
    case 'terminal':
      if (ended) return <Ended what="There is no shell in it any more." />;
      if (!mayChange()) return <p class="quiet">A shell takes a token with the scope sandboxes.</p>;
      return <Terminal key={id} id={id} />;
    case 'files':
      return ended ? <Ended what="Its files are gone." /> : <Files key={id} id={id} path={more ?? '/'} />;
    case 'processes':
      return more === undefined ? (
        <Processes key={id} id={id} />
      ) : (
        <>
          <h2>Output of {more === 'entrypoint' ? 'its main program' : more}</h2>
          <Logs key={more} id={id} process={more} />
        </>
      );
    default:
      return <p class="quiet">There is nothing here.</p>;
  }
}

const Ended = ({ what }: { what: string }) => <p class="quiet">This sandbox has ended. {what}</p>;
