/** The way to a directory, each part of it a link. */
import { hrefOf } from './hooks.ts';

/** @param of the address of the root's page, in parts */
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
