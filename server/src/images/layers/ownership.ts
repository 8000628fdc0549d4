/** `--chown`: names are looked up in the image's own /etc/passwd and /etc/group. */
import { closeSync, openSync, readSync } from 'node:fs';
import { raw } from '../../platform/byte-paths.ts';
import { EditError } from './edit.ts';
import { lstat, type RootedTree } from './rooted.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Bytes of /etc/passwd and /etc/group that are read. */
const MAX_DATABASE = 1 << 20;
const MAX_ID = 2 ** 32 - 2;

/**
 * `user`, `user:group` or `:group`, each a name or a number. Without a group it is the group with the user's number, as Docker has it for
 * numbers, and the user's own group for names.
 * @throws EditError when a name is not in the image
 */
export function resolveOwner(spec: string, tree: RootedTree): Owner {
  const [user = '', group] = spec.split(':', 2);
  const passwd = user === '' || isNumber(user) ? undefined : find(tree, '/etc/passwd', user);
  const uid = user === '' ? 0 : Number(passwd?.[2] ?? user);
  const gid =
    group === undefined || group === ''
      ? Number(passwd?.[3] ?? uid)
      : isNumber(group)
        ? Number(group)
        : Number(find(tree, '/etc/group', group)[2]);
  if (![uid, gid].every((id) => Number.isInteger(id) && id >= 0 && id <= MAX_ID)) {
    throw new EditError(`--chown=${spec}: not a valid owner`);
  }
  return { uid, gid };
}

const isNumber = (text: string) => /^[0-9]+$/.test(text);

function find(tree: RootedTree, path: string, name: string): string[] {
  const entry = read(tree.resolve(path))
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[0] === name);
  if (!entry) throw new EditError(`--chown: there is no \`${name}\` in the image's ${path}`);
  return entry;
}

function read(host: string): string {
  if (!lstat(host)?.isFile()) return '';
  const fd = openSync(raw(host), 'r');
  try {
    const buffer = Buffer.alloc(MAX_DATABASE);
    return buffer.subarray(0, readSync(fd, buffer)).toString('utf8');
  } finally {
    closeSync(fd);
  }
}
