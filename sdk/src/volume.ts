/** Volumes: files with a life of their own, which sandboxes mount by name. */
import { type ConnectionOptions, connect } from './connection.ts';
import type { FileContent } from './files.ts';
import type { VolumeFile, VolumeFiles, VolumeInfo, VolumePage } from './gen/types.ts';
import { eachPage, type HttpClient } from './http.ts';
import type { Options } from './process.ts';

/** A volume of a Skerry server. `Sandbox.create({ volumes: { '/data': volume.name } })` mounts it. */
export class Volume {
  readonly name: string;
  readonly info: VolumeInfo;
  readonly #http: HttpClient;
  readonly #path: string;

  private constructor(http: HttpClient, info: VolumeInfo) {
    this.name = info.name;
    this.info = info;
    this.#http = http;
    this.#path = volumePath(info.name);
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

  /** What a sandbox wrote is there at once. @throws NotFoundError, InvalidRequestError for what is no file */
  async read(path: string, options: Options = {}): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#http.send('GET', `${this.#path}/files`, { query: { path }, ...options });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** As `read`, decoded as UTF-8. */
  async readText(path: string, options: Options = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options));
  }

  /** Creates or replaces a file of at most 64 MiB; missing directories are made. Sandboxes that have it see it after `reloadVolumes`. */
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

  /** Forgets it and what it holds. */
  async delete(options: Options = {}): Promise<void> {
    await this.#http.call('DELETE', this.#path, options);
  }
}

const volumePath = (name: string) => `/v1/volumes/${encodeURIComponent(name)}`;
