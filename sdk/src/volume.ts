/** Volumes: files with a life of their own, which sandboxes mount by name. */
import { type ConnectionOptions, connect } from './connection.ts';
import { eachPage, type HttpClient } from './core/http.ts';
import type { FileContent } from './files.ts';
import type { VolumeFile, VolumeFiles, VolumeInfo, VolumePage } from './gen/types.ts';
import type { Options } from './process.ts';

/** A volume of a Skerry server. `Sandbox.create({ volumes: { '/data': volume.name } })` mounts it. */
export class Volume {
  readonly #http: HttpClient;
  #info: VolumeInfo;

  private constructor(http: HttpClient, info: VolumeInfo) {
    this.#http = http;
    this.#info = info;
  }

  /** Makes a volume, or finds the one of that name. */
  static async create(name: string, options: ConnectionOptions & Options = {}): Promise<Volume> {
    return Volume.#ask('PUT', name, options);
  }

  /** @throws NotFoundError */
  static async get(name: string, options: ConnectionOptions & Options = {}): Promise<Volume> {
    return Volume.#ask('GET', name, options);
  }

  /** All volumes, newest first. */
  static async *list(options: ConnectionOptions & Options = {}): AsyncGenerator<Volume, void> {
    const { signal, ...connection } = options;
    const http = connect(connection);
    for await (const { volumes } of eachPage<VolumePage>(http, '/v1/volumes', { signal })) {
      for (const info of volumes) yield new Volume(http, info);
    }
  }

  static async #ask(method: string, name: string, options: ConnectionOptions & Options): Promise<Volume> {
    const { signal, ...connection } = options;
    const http = connect(connection);
    const info = await http.call<VolumeInfo>(method, volumePath(name), { repeatable: true, signal });
    return new Volume(http, info);
  }

  /** What was known of it when this was made, or at the last `rename`. */
  get info(): VolumeInfo {
    return this.#info;
  }

  /** By which sandboxes mount it. */
  get name(): string {
    return this.#info.name;
  }

  get #path(): string {
    return volumePath(this.name);
  }

  /** What a sandbox wrote is there at once. @throws NotFoundError, InvalidRequestError for what is no file */
  async read(path: string, options: Options = {}): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#http.send('GET', `${this.#path}/files`, { query: { path }, ...options });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** As `read`, as it comes. */
  async readStream(path: string, options: Options = {}): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const { body } = await this.#http.send('GET', `${this.#path}/files`, { query: { path }, ...options });
    return body ?? new Blob([]).stream();
  }

  /** As `read`, decoded as UTF-8. */
  async readText(path: string, options: Options = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options));
  }

  /** Creates or replaces a file; missing directories are made. Content that breaks off leaves what was there. Sandboxes that have it see it after `reloadVolumes`. */
  async write(path: string, content: FileContent, options: Options = {}): Promise<void> {
    await this.#http.call('PUT', `${this.#path}/files`, { query: { path }, body: content, ...options });
  }

  /** What is in a directory, with `recursive` also further down. @throws NotFoundError */
  async files(path = '/', options: Options & { readonly recursive?: boolean } = {}): Promise<VolumeFile[]> {
    const { recursive, signal } = options;
    const query = { path, recursive };
    return (await this.#http.call<VolumeFiles>('GET', `${this.#path}/files/list`, { query, signal })).entries;
  }

  /** A file, or a directory: with something in it only when `recursive`. @throws NotFoundError, ConflictError */
  async remove(path: string, options: Options & { readonly recursive?: boolean } = {}): Promise<void> {
    const { recursive, signal } = options;
    await this.#http.call('DELETE', `${this.#path}/files`, { query: { path, recursive }, signal });
  }

  /** Copies files within it, with `recursive` directories too, as `cp -p` does: all or none. @throws NotFoundError, ConflictError, InvalidRequestError */
  async copy(
    from: readonly string[],
    to: string,
    options: Options & { readonly recursive?: boolean } = {},
  ): Promise<void> {
    const { recursive, signal } = options;
    const json = { from, to, recursive };
    await this.#http.call('POST', `${this.#path}/files/copy`, { json, signal });
  }

  /** Gives it another name, under which this object has it too. @throws ConflictError when it is taken */
  async rename(name: string, options: Options = {}): Promise<void> {
    this.#info = await this.#http.call('POST', `${this.#path}/rename`, { json: { name }, ...options });
  }

  /** Forgets it and what it holds. */
  async delete(options: Options = {}): Promise<void> {
    await this.#http.call('DELETE', this.#path, options);
  }
}

const volumePath = (name: string) => `/v1/volumes/${encodeURIComponent(name)}`;
