/** Files of whatever has some, a directory at a time: its entries, and the way to it. */
import { bytes } from './format.ts';
import { type Asked, hrefOf, useAsked, type Work } from './hooks.ts';
import { Danger, Table, When } from './parts.tsx';
import { download, get } from './session.ts';

/** Of a sandbox or of a volume. */
interface Entry {
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly size: number;
  readonly modifiedAt: string;
  readonly symlinkTarget?: string | null;
}

export const queryOf = (path: string): string => `?path=${encodeURIComponent(path)}`;

/** What is in a directory. @param base where the interface has the files */
export const useDirectory = (base: string, path: string): Asked<{ readonly entries: readonly Entry[] }> =>
  useAsked((signal) => get(`${base}/list${queryOf(path)}`, signal), `${base} ${path}`);

/** @param of the address of the root's page, in parts @param onRemove where files can be removed: removes one, or a directory with all that is in it */
export function Directory({
  of,
  base,
  entries,
  work,
  onRemove,
}: {
  of: readonly string[];
  base: string;
  entries: readonly Entry[] | undefined;
  work: Work;
  onRemove?: (path: string) => Promise<void>;
}) {
  return (
    <Table label="Files" heads={['Name', 'Size', 'Changed', 'Actions']}>
      {entries?.map(({ path, type, size, modifiedAt, symlinkTarget }) => {
        const name = path.slice(path.lastIndexOf('/') + 1);
        return (
          <tr key={path}>
            <th scope="row">
              {type === 'directory' ? <a href={hrefOf(...of, path)}>{name}/</a> : name}
              {symlinkTarget && <small>→ {symlinkTarget}</small>}
            </th>
            <td>{type === 'file' ? bytes(size) : '–'}</td>
            <td>
              <When at={modifiedAt} />
            </td>
            <td>
              <div class="tools">
                {type === 'file' && (
                  <button
                    type="button"
                    onClick={() => work.start(() => download(`${base}${queryOf(path)}`, name))}
                  >
                    Download<span class="unseen"> {name}</span>
                  </button>
                )}
                {onRemove && (
                  <Danger
                    verb="Delete"
                    what={name}
                    loses={type === 'directory' ? 'With everything in it.' : 'It is gone then.'}
                    disabled={work.busy}
                    onConfirm={() => work.start(() => onRemove(path))}
                  />
                )}
              </div>
            </td>
          </tr>
        );
      })}
    </Table>
  );
}

/** The way to a directory, each part of it a link. @param of as for `Directory` */
export function Trail({ of, path }: { of: readonly string[]; path: string }) {
  const parts = path.split('/').filter(Boolean);
  return (
    <nav aria-label="Directory" class="trail">
      <a href={hrefOf(...of, '/')}>/</a>
      {parts.map((part, index) => {
        const upTo = `/${parts.slice(0, index + 1).join('/')}`;
        return (
          <a key={upTo} href={hrefOf(...of, upTo)}>
            {part}/
          </a>
        );
      })}
    </nav>
  );
}
