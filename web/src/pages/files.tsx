/** Files of a sandbox: a directory at a time. */
import type { FileList } from '../../../sdk/src/index.ts';
import { bytes } from '../format.ts';
import { hrefOf, useAsked, useWork } from '../hooks.ts';
import { Danger, Failure, Table, When } from '../parts.tsx';
import { pathOf, sandboxOf } from '../sandbox-access.ts';
import { download, get, mayChange, send } from '../session.ts';
import { Trail } from '../trail.tsx';

const query = (path: string): string => `?path=${encodeURIComponent(path)}`;

export function Files({ id, path }: { id: string; path: string }) {
  const directory = path.endsWith('/') ? path : `${path}/`;
  const base = `${pathOf(id)}/files`;
  const { value, error, again } = useAsked(
    (signal) => get<FileList>(`${base}/list${query(path)}`, signal),
    `${id} ${path}`,
  );
  const work = useWork();
  const upload = async (files: readonly File[]) => {
    const sandbox = await sandboxOf(id);
    for (const file of files) await sandbox.files.write(`${directory}${file.name}`, file);
    again();
  };
  const remove = async (target: string) => {
    await send('DELETE', `${base}${query(target)}&recursive=true`);
    again();
  };
  return (
    <>
      <div class="tools">
        <Trail of={['sandboxes', id, 'files']} path={path} />
        {mayChange() && (
          <label>
            Upload{' '}
            <input
              type="file"
              multiple
              disabled={work.busy}
              onChange={({ currentTarget }) => {
                const chosen = [...(currentTarget.files ?? [])];
                work.start(() => upload(chosen));
                currentTarget.value = '';
              }}
            />
          </label>
        )}
      </div>
      <Failure of={error ?? work.failed} />
      <p role="status" class="quiet">
        {work.busy ? 'Working…' : value?.entries.length === 0 && 'This directory is empty.'}
      </p>
      <Table label="Files" heads={['Name', 'Size', 'Changed', 'Actions']}>
        {value?.entries.map((entry) => (
          <tr key={entry.path}>
            <th scope="row">
              {entry.type === 'directory' ? (
                <a href={hrefOf('sandboxes', id, 'files', entry.path)}>{entry.name}/</a>
              ) : (
                entry.name
              )}
              {entry.symlinkTarget !== null && <small>→ {entry.symlinkTarget}</small>}
            </th>
            <td>{entry.type === 'file' ? bytes(entry.size) : '–'}</td>
            <td>
              <When at={entry.modifiedAt} />
            </td>
            <td>
              <div class="tools">
                {entry.type === 'file' && (
                  <button
                    type="button"
                    onClick={() => work.start(() => download(`${base}${query(entry.path)}`, entry.name))}
                  >
                    Download<span class="unseen"> {entry.name}</span>
                  </button>
                )}
                <Danger
                  verb="Delete"
                  what={entry.name}
                  loses={entry.type === 'directory' ? 'With everything in it.' : 'It is gone then.'}
                  disabled={work.busy}
                  onConfirm={() => work.start(() => remove(entry.path))}
                />
              </div>
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}
