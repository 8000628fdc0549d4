/** Files of a sandbox. */
import { Directory, queryOf, Trail, useDirectory } from '../directory.tsx';
import { useWork } from '../hooks.ts';
import { Failure } from '../parts.tsx';
import { pathOf, sandboxOf } from '../sandbox-access.ts';
import { mayChange, send } from '../session.ts';

export function Files({ id, path }: { id: string; path: string }) {
  const at = ['sandboxes', id, 'files'];
  const base = `${pathOf(id)}/files`;
  const { value, error, again } = useDirectory(base, path);
  const work = useWork();
  const upload = async (files: readonly File[]) => {
    const sandbox = await sandboxOf(id);
    const directory = path.endsWith('/') ? path : `${path}/`;
    for (const file of files) await sandbox.files.write(`${directory}${file.name}`, file);
    again();
  };
  const remove = async (target: string) => {
    await send('DELETE', `${base}${queryOf(target)}&recursive=true`);
    again();
  };
  return (
    <>
      <div class="tools">
        <Trail of={at} path={path} />
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
      <Directory of={at} base={base} entries={value?.entries} work={work} onRemove={remove} />
    </>
  );
}
