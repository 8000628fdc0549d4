/** Files of a sandbox, by absolute path. */

import type { HttpClient } from './core/http.ts';
import type { FileEntry, FileList, FileStat } from './gen/types.ts';
import type { Options } from './process.ts';

/** What can be written: a stream is passed on as it comes, where the runtime's `fetch` can send one (Node, Bun; of browsers some). */
export type FileContent = string | Uint8Array<ArrayBuffer> | Blob | ReadableStream<Uint8Array>;

/** The files of a sandbox: `sandbox.files`. Paths are absolute. */
export class SandboxFiles {
  readonly #http: HttpClient;
  readonly #path: string;

  /** @internal `Sandbox.files` is one. */
  constructor(http: HttpClient, sandboxPath: string) {
    this.#http = http;
    this.#path = sandboxPath;
  }

  /** @throws NotFoundError, ConflictError for a directory */
  async read(path: string, options: Options = {}): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#http.send('GET', `${this.#path}/files`, { query: { path }, ...options });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** As `read`, decoded as UTF-8. */
  async readText(path: string, options: Options = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options));
  }

  /** As `read`, as it comes. */
  async readStream(path: string, options: Options = {}): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const response = await this.#http.send('GET', `${this.#path}/files`, { query: { path }, ...options });
    return response.body ?? new Blob([]).stream();
  }

  /** Creates or replaces a file; missing directories are made. Content that breaks off leaves what was there. */
  async write(path: string, content: FileContent, options: Options = {}): Promise<void> {
    await this.#http.call('PUT', `${this.#path}/files`, { query: { path }, body: content, ...options });
  }

  /** What is directly in a directory, by name. @throws NotFoundError, ConflictError */
  async list(path: string, options: Options = {}): Promise<FileEntry[]> {
    const list = await this.#http.call<FileList>('GET', `${this.#path}/files/list`, {
      query: { path },
      ...options,
    });
    return list.entries;
  }

  /** What is at a path, a link itself and not what it leads to; null when nothing is. */
  async type(path: string, options: Options = {}): Promise<FileStat['type']> {
    const stat = await this.#http.call<FileStat>('GET', `${this.#path}/files/stat`, {
      query: { path },
      ...options,
    });
    return stat.type;
  }

  /** Whether anything is at a path, be it a link that leads nowhere. */
  async exists(path: string, options: Options = {}): Promise<boolean> {
    return (await this.type(path, options)) !== null;
  }

  /** Makes a directory, and its parents. No effect where it is. */
  async mkdir(path: string, options: Options = {}): Promise<void> {
    await this.#http.call('POST', `${this.#path}/directories`, { json: { path }, ...options });
  }

  /** A file, a link, or a directory: with something in it only when `recursive`. @throws NotFoundError, ConflictError */
  async remove(path: string, options: Options & { readonly recursive?: boolean } = {}): Promise<void> {
    const { recursive, signal } = options;
    await this.#http.call('DELETE', `${this.#path}/files`, { query: { path, recursive }, signal });
  }
}
