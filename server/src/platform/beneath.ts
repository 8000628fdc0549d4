/**
 * A directory that somebody hostile changes while it is read or written. Everything is named by one component below a descriptor, as openat(2) does it, and no
 * link is followed: whatever is swapped meanwhile, nothing outside of the tree is reached. Node has no *at functions; `/proc/self/fd/N/name` is the same.
 */
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { raw } from './byte-paths.ts';
import { errorCode } from './error-code.ts';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** O_NONBLOCK: opening a FIFO in place of the file would wait for its other end. */
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export class Beneath implements AsyncDisposable {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** @param path absolute, a byte string, of a directory whose parents are ours */
  static async open(path: string): Promise<Beneath> {
    return new Beneath(await open(raw(path), DIRECTORY));
  }

  /** A name in this directory, for functions that do not follow a link in the last component. */
  path(name: string): Buffer {
    return raw(`/proc/self/fd/${this.#handle.fd}/${name}`);
  }

  /** Of the directory itself. */
  stats(): Promise<BigIntStats> {
    return this.#handle.stat({ bigint: true });
  }

  /** Changes owner and permission bits of the directory itself. */
  async own(uid: number, gid: number, mode: number): Promise<void> {
    await this.#handle.chown(uid, gid);
    await this.#handle.chmod(mode);
  }

  names(): Promise<string[]> {
    return readdir(raw(`/proc/self/fd/${this.#handle.fd}`), { encoding: 'latin1' });
  }

  /** What a name is; undefined when nothing is there. */
  async lookup(name: string): Promise<BigIntStats | undefined> {
    try {
      return await lstat(this.path(name), { bigint: true });
    } catch (error) {
      if (isAbsence(error)) return undefined;
      throw error;
    }
  }

  /** Undefined when it is no directory, or not there. */
  async directory(name: string): Promise<Beneath | undefined> {
    try {
      return new Beneath(await open(this.path(name), DIRECTORY));
    } catch (error) {
      if (isAbsence(error)) return undefined;
      throw error;
    }
  }

  /** Undefined when it is no regular file, or not there. */
  async file(name: string): Promise<FileHandle | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(this.path(name), FILE);
    } catch (error) {
      if (isAbsence(error)) return undefined;
      throw error;
    }
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    return undefined;
  }

  /** The directory at a path below; undefined when there is none, or a link is on the way. @param opened closes what is opened on the way */
  async enter(path: readonly string[], opened: AsyncDisposableStack): Promise<Beneath | undefined> {
    let directory: Beneath = this;
    for (const name of path) {
      const inner = await directory.directory(name);
      if (!inner) return undefined;
      directory = opened.use(inner);
    }
    return directory;
  }

  /** What is at a path below, a link itself; undefined when nothing is, or a link is on the way. */
  async find(path: readonly string[]): Promise<BigIntStats | undefined> {
    await using opened = new AsyncDisposableStack();
    const name = path.at(-1);
    if (name === undefined) return this.stats();
    return await (await this.enter(path.slice(0, -1), opened))?.lookup(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

/** Not there, no directory, a link (ELOOP), or a socket or device without a driver (ENXIO). */
const isAbsence = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errorCode(error) ?? '');
