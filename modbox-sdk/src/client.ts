/** The client of the Modbox API. */
import { environment } from '../../sdk/src/core/environment.ts';
import type { Face } from '../../sdk/src/core/face.ts';
import { eachPage, HttpClient } from '../../sdk/src/core/http.ts';
import { untilImage, untilSo } from '../../sdk/src/core/wait.ts';
import type {
  Checkpoint,
  CheckpointList,
  DefaultImage,
  Fork,
  ForkRequest,
  ProvisionRequest,
  RollbackRequest,
  Sandbox,
  SandboxList,
} from './gen/types.ts';
import { type Loose, type Options, SandboxConnection } from './sandbox-connection.ts';

const DEFAULT_WAIT_SECONDS = 60;
/** An image that has to be fetched or built first takes minutes. */
const DEFAULT_IMAGE_WAIT_SECONDS = 900;

const face: Face = {
  product: 'Modbox',
  urlOption: 'baseUrl',
  urlVariable: 'MODBOX_API_URL',
  tokenVariable: 'MODBOX_API_TOKEN',
};

/** The part of `fetch` that is used; another can be given for tests or proxies. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface ModboxClientOptions {
  /** `MODBOX_API_TOKEN` as `skerry env` prints it. Default: that environment variable. */
  readonly token?: string | undefined;
  /** Where the server is. Default: the environment variable `MODBOX_API_URL`, then http://127.0.0.1:7423. */
  readonly baseUrl?: string | undefined;
  /** Used instead of the global `fetch`. */
  readonly fetch?: Fetch | undefined;
}

export interface WaitOptions extends Options {
  /** The caller's task id, or a sandbox id. */
  readonly taskId: string;
  /** Seconds, 60 by default. */
  readonly timeout?: number | undefined;
}

export interface ProvisionOptions extends Options {
  /** Seconds to wait for an image that is still being fetched or built, 900 by default. */
  readonly imageTimeout?: number | undefined;
}

export class ModboxClient {
  readonly #http: HttpClient;

  /** @throws AuthenticationError when there is no token */
  constructor({ token, baseUrl, fetch }: ModboxClientOptions = {}) {
    const server = {
      url: baseUrl || environment('MODBOX_API_URL'),
      token: token || environment('MODBOX_API_TOKEN'),
      fetch,
    };
    this.#http = HttpClient.of(server, face);
  }

  /**
   * Makes a sandbox, or gives back the running one of that task id when its definition is the same. It may still be starting: `waitForSandbox`.
   * @throws ConflictError when the running one differs, QuotaError when there is no room, ImageBuildError, WaitTimeoutError
   */
  provisionSandbox(request: Loose<ProvisionRequest>, options: ProvisionOptions = {}): Promise<Sandbox> {
    const { imageTimeout = DEFAULT_IMAGE_WAIT_SECONDS, signal } = options;
    const provision = () =>
      this.#http.call<Sandbox>('POST', '/modbox/v1/sandboxes', { json: request, repeatable: true, signal });
    return untilImage(provision, { field: 'imageId', timeoutMs: imageTimeout * 1000, signal });
  }

  /** Waits until the sandbox runs. @throws WaitTimeoutError, SandboxEndedError, NotFoundError */
  waitForSandbox({ taskId, timeout = DEFAULT_WAIT_SECONDS, signal }: WaitOptions): Promise<Sandbox> {
    const ask = (timeoutSeconds: number) =>
      this.#http.call<Sandbox>('GET', `${sandboxPath(taskId)}/wait`, { query: { timeoutSeconds }, signal });
    return untilSo(ask, `Sandbox ${JSON.stringify(taskId)}`, timeout * 1000);
  }

  /**
   * Makes running copies of a running sandbox, with the memory of its programs: all of them, or none. It goes on itself. Takes gVisor.
   * @throws ConflictError for one that cannot be copied, QuotaError when there is no room, NotFoundError, SandboxEndedError
   */
  async forkSandbox({
    taskId,
    signal,
    ...request
  }: Loose<ForkRequest> & Options & { readonly taskId: string }): Promise<Sandbox[]> {
    const made = await this.#http.call<Fork>('POST', `${sandboxPath(taskId)}/fork`, {
      json: request,
      signal,
    });
    return made.sandboxes;
  }

  /** Keeps the memory and the files of a running sandbox as they are, for `rollBackSandbox`; it goes on. @throws as `forkSandbox` */
  createCheckpoint({ taskId, signal }: Options & { readonly taskId: string }): Promise<Checkpoint> {
    return this.#http.call('POST', `${sandboxPath(taskId)}/checkpoints`, { signal });
  }

  /** What was kept of a sandbox and has not expired, newest first. @throws NotFoundError */
  async listCheckpoints({ taskId, signal }: Options & { readonly taskId: string }): Promise<Checkpoint[]> {
    const path = `${sandboxPath(taskId)}/checkpoints`;
    return (await this.#http.call<CheckpointList>('GET', path, { signal })).checkpoints;
  }

  /** Removes what was kept of a sandbox; what went on from it goes on. @throws NotFoundError */
  async deleteCheckpoint({
    taskId,
    checkpointId,
    signal,
  }: Options & { readonly taskId: string; readonly checkpointId: string }): Promise<void> {
    const path = `${sandboxPath(taskId)}/checkpoints/${encodeURIComponent(checkpointId)}`;
    await this.#http.call('DELETE', path, { signal });
  }

  /** Has a sandbox go on where it was when that checkpoint was taken of it; resolves when it runs. @throws ConflictError, NotFoundError, SandboxEndedError */
  rollBackSandbox({
    taskId,
    signal,
    ...request
  }: RollbackRequest & Options & { readonly taskId: string }): Promise<Sandbox> {
    return this.#http.call('POST', `${sandboxPath(taskId)}/rollback`, { json: request, signal });
  }

  /** By task id, running or the newest that ended, or by sandbox id. @throws NotFoundError */
  getSandbox(taskId: string, options: Options = {}): Promise<Sandbox> {
    return this.#http.call('GET', sandboxPath(taskId), options);
  }

  /** Ends it and everything in it; resolves once it is gone. Ending an ended one changes nothing. @throws NotFoundError */
  destroySandbox({ taskId, signal }: Options & { readonly taskId: string }): Promise<Sandbox> {
    return this.#http.call('DELETE', sandboxPath(taskId), { signal });
  }

  /** All running sandboxes made by Modbox, newest first; with `includeEnded` also the ended ones. */
  async listSandboxes(options: Options & { readonly includeEnded?: boolean } = {}): Promise<Sandbox[]> {
    const { includeEnded, signal } = options;
    const all: Sandbox[] = [];
    const query = { includeEnded, limit: 1000 };
    const pages = eachPage<SandboxList>(this.#http, '/modbox/v1/sandboxes', { query, signal });
    for await (const { sandboxes } of pages) all.push(...sandboxes);
    return all;
  }

  /** The image of sandboxes that name none, and the languages in it. */
  getDefaultImage(options: Options = {}): Promise<DefaultImage> {
    return this.#http.call('GET', '/modbox/v1/images/default', options);
  }

  /** Commands, files and processes of a sandbox, with its own key. */
  connect(sandbox: Pick<Sandbox, 'sandboxUrl' | 'apiKey'>): SandboxConnection {
    return new SandboxConnection(this.#http.withKey(sandbox.apiKey, sandbox.sandboxUrl));
  }
}

const sandboxPath = (taskId: string) => `/modbox/v1/sandboxes/${encodeURIComponent(taskId)}`;
