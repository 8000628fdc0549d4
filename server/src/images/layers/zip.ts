/** Reads zip archives (Go modules, Python wheels, jars). What is in one is hostile: names that lead outside and sizes that lie are refused. */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { type Entry, fromBufferPromise, openPromise, type ZipFile } from 'yauzl';
import { EditError } from './edit.ts';

/** The Go toolchain has 10,000; a Go module may have at most 500 MiB (go.dev/ref/mod#zip-path-size-constraints). */
const MAX_ENTRIES = 100_000;
const MAX_BYTES = 2 ** 31;

export class Zip implements AsyncDisposable {
  readonly #file: ZipFile;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(file: ZipFile, entries: ReadonlyMap<string, Entry>) {
    this.#file = file;
    this.#entries = entries;
  }

  /** @throws EditError when it is no zip archive, or names a file outside or twice */
  static async open(source: string | Buffer): Promise<Zip> {
    const options = { strictFileNames: true, autoClose: false };
    const opening =
      typeof source === 'string' ? openPromise(source, options) : fromBufferPromise(source, options);
    const file = await opening.catch(damaged);
    const entries = new Map<string, Entry>();
    let bytes = 0;
    try {
      for await (const entry of file.eachEntry()) {
        if (entry.fileName.endsWith('/')) continue;
        bytes += entry.uncompressedSize;
        if (entries.size >= MAX_ENTRIES || bytes > MAX_BYTES)
          throw new EditError('the archive unpacks to more than Skerry allows');
        if (entries.has(entry.fileName))
          throw new EditError(`the archive has ${JSON.stringify(entry.fileName)} twice`);
        entries.set(entry.fileName, entry);
      }
    } catch (error) {
      file.close();
      damaged(error);
    }
    return new Zip(file, entries);
  }

  /** Of files; directories are implied. */
  names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** Whether the archive says that the file is a program; archives made by Go and Java never say so. */
  isProgram(name: string): boolean {
    const entry = this.#entries.get(name);
    const madeOnUnix = entry !== undefined && entry.versionMadeBy >> 8 === 3;
    return madeOnUnix && ((entry.externalFileAttributes >>> 16) & 0o111) !== 0;
  }

  /** @throws EditError when there is no such file, and while reading when it is damaged */
  async *read(name: string): AsyncGenerator<Buffer> {
    const entry = this.#entries.get(name);
    if (!entry) throw new EditError(`the archive has no ${JSON.stringify(name)}`);
    try {
      yield* await this.#file.openReadStreamPromise(entry);
    } catch (error) {
      damaged(error);
    }
  }

  /** A small file as a whole. */
  async bytes(name: string, maxBytes = 16 << 20): Promise<Buffer> {
    if ((this.#entries.get(name)?.uncompressedSize ?? 0) > maxBytes)
      throw new EditError(`${JSON.stringify(name)} in the archive is larger than ${maxBytes} bytes`);
    return buffer(this.read(name));
  }

  /**
   * Goes over every file of a Go module and checks the module's hash (`h1:`, go.dev/ref/mod#go-sum-files) as it does. `use` may take a file's content; what
   * it does not read is read for it.
   * @throws EditError when the module is another than the one with this hash. What was made of its files before must not be used then.
   */
  async eachOfModule(
    h1: string,
    use: (name: string, content: AsyncIterable<Buffer>) => Promise<void>,
  ): Promise<void> {
    const lines: string[] = [];
    for (const name of this.names().toSorted()) {
      const hash = createHash('sha256');
      const hashed = async function* (content: AsyncIterable<Buffer>) {
        for await (const chunk of content) {
          hash.update(chunk);
          yield chunk;
        }
      };
      const content = hashed(this.read(name));
      await use(name, content);
      for await (const _ of content); // what `use` left
      lines.push(`${hash.digest('hex')}  ${name}\n`);
    }
    const found = `h1:${createHash('sha256').update(lines.join('')).digest('base64')}`;
    if (found !== h1)
      throw new EditError(
        `the Go module is not the one that is expected: it has the hash ${found}, not ${h1}`,
      );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#file.close();
  }
}

/** Errors of the machine pass, the others are the archive's. */
function damaged(error: unknown): never {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof EditError || (code !== undefined && /^E[A-Z]+$/.test(code))) throw error;
  throw new EditError(`the archive is damaged: ${error instanceof Error ? error.message : String(error)}`);
}
