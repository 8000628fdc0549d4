/** Programs that were started in a sandbox. */
import type { ProcessInfos } from '../../../sdk/src/index.ts';
import { hrefOf, useAsked, useWork } from '../hooks.ts';
import { Ago, Danger, Failure, State, Table } from '../parts.tsx';
import { pathOf } from '../sandbox-access.ts';
import { get, send } from '../session.ts';

export function Processes({ id }: { id: string }) {
  // Asked once: asking counts as using the sandbox, which would never idle.
  const { value, error, again } = useAsked(
    (signal) => get<ProcessInfos>(`${pathOf(id)}/processes`, signal),
    id,
  );
  const ending = useWork();
  const end = async (process: string) => {
    await send('POST', `${pathOf(id)}/processes/${encodeURIComponent(process)}/signal`, {
      signal: 'SIGKILL',
    });
    again();
  };
  return (
    <>
      <div class="tools">
        <button type="button" onClick={again}>
          Refresh
        </button>
      </div>
      <Failure of={error ?? ending.failed} />
      <Table label="Processes" heads={['Command', 'State', 'Started', 'Actions']}>
        {value?.processes.toReversed().map(({ id: process, argv, startedAt, exit }) => (
          <tr key={process}>
            <th scope="row">
              <code>{argv.join(' ')}</code>
              {process === 'entrypoint' && <small>its main program</small>}
              <small>
                <a href={hrefOf('sandboxes', id, 'processes', process)}>
                  Output<span class="unseen"> of {argv.join(' ')}</span>
                </a>
              </small>
            </th>
            <td>
              <State of={exit ? 'ended' : 'running'} />
              {exit && <small>exit code {exit.exitCode}</small>}
            </td>
            <td>
              <Ago at={startedAt} />
            </td>
            <td>
              {!exit && (
                <Danger
                  verb="Kill"
                  what={argv[0] ?? process}
                  loses="It and everything it started ends at once."
                  disabled={ending.busy}
                  onConfirm={() => ending.start(() => end(process))}
                />
              )}
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}
