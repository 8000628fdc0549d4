/** The client of the Modbox API. */
import { AuthenticationError, NotReadyError, WaitTimeoutError } from './errors.ts';
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
import { type Fetch, HttpClient } from './http.ts';
import { type Loose, type Options, SandboxConnection } from './sandbox-connection.ts';

const DEFAULT_URL = 'http://127.0.0.1:7423';
const DEFAULT_WAIT_SECONDS = 60;
/** One wait on the server; longer ones are made of several, so that no proxy takes the connection for dead. */
const WAIT_STEP_SECONDS = 30;
/** An image that has to be fetched or built first takes minutes. */
const DEFAULT_IMAGE_WAIT_SECONDS = 900;
const DEFAULT_RETRY_SECONDS = 5;

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
  readonly #fetch: Fetch;

  /** @throws AuthenticationError when there is no token */
  constructor(options: ModboxClientOptions = {}) {
    const token = options.token || environment('MODBOX_API_TOKEN');
    if (!token) {
      throw new AuthenticationError(
        {
          code: 'unauthenticated',
          message: 'ModboxClient needs a token.',
          suggestion: 'Run `eval "$(skerry env)"`, which sets MODBOX_API_TOKEN, or pass { token }.',
          retryable: false,
        },
        { status: 0 },
      );
    }
    // A browser's fetch insists on being called on its window.
    this.#fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
    const baseUrl = options.baseUrl || environment('MODBOX_API_URL') || DEFAULT_URL;
    this.#http = new HttpClient(baseUrl, token, this.#fetch);
  }

  /**
   * Makes a sandbox, or gives back the running one of that task id when its definition is the same. It may still be starting: `waitForSandbox`.
   * @throws ConflictError when the running one differs, QuotaError when there is no room, ImageBuildError, WaitTimeoutError
   */
  async provisionSandbox(request: Loose<ProvisionRequest>, options: ProvisionOptions = {}): Promise<Sandbox> {
    const { imageTimeout = DEFAULT_IMAGE_WAIT_SECONDS, signal } = options;
    const deadline = Date.now() + imageTimeout * 1000;
    for (;;) {
      try {
        return await this.#http.call<Sandbox>('POST', '/modbox/v1/sandboxes', { json: request, signal });
      } catch (error) {
        // 503 about the image: it is being made, and this call is how to ask whether it is there.
        if (!(error instanceof NotReadyError) || error.path !== 'imageId') throw error;
        const seconds = error.retryAfterSeconds ?? DEFAULT_RETRY_SECONDS;
        if (Date.now() + seconds * 1000 > deadline) throw waitTimeout('The image', imageTimeout, error);
        await delay(seconds * 1000, signal);
      }
    }
  }

  /** Waits until the sandbox runs. @throws WaitTimeoutError, SandboxEndedError, NotFoundError */
  async waitForSandbox({ taskId, timeout = DEFAULT_WAIT_SECONDS, signal }: WaitOptions): Promise<Sandbox> {
    const deadline = Date.now() + timeout * 1000;
    for (;;) {
      const left = Math.max(0, (deadline - Date.now()) / 1000);
      try {
        const query = { timeoutSeconds: Math.min(left, WAIT_STEP_SECONDS) };
        return await this.#http.call<Sandbox>('GET', `${sandboxPath(taskId)}/wait`, { query, signal });
      } catch (error) {
        if (!(error instanceof NotReadyError)) throw error;
        if (Date.now() >= deadline) throw waitTimeout(`Sandbox ${JSON.stringify(taskId)}`, timeout, error);
      }
    }
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
    let cursor: string | undefined;
    do {
      const query = { includeEnded, limit: 1000, cursor };
      const page = await this.#http.call<SandboxList>('GET', '/modbox/v1/sandboxes', { query, signal });
      all.push(...page.sandboxes);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return all;
  }

  /** The image of sandboxes that name none, and the languages in it. */
  getDefaultImage(options: Options = {}): Promise<DefaultImage> {
    return this.#http.call('GET', '/modbox/v1/images/default', options);
  }

  /** Commands, files and processes of a sandbox, with its own key. */
  connect(sandbox: Pick<Sandbox, 'sandboxUrl' | 'apiKey'>): SandboxConnection {
    return new SandboxConnection(new HttpClient(sandbox.sandboxUrl, sandbox.apiKey, this.#fetch));
  }
}

const sandboxPath = (taskId: string) => `/modbox/v1/sandboxes/${encodeURIComponent(taskId)}`;

/** An environment variable; undefined in a browser. */
function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name];
}

function waitTimeout(what: string, seconds: number, cause: NotReadyError): WaitTimeoutError {
  return new WaitTimeoutError(
    {
      code: 'wait-timeout',
      message: `${what} was not ready within ${seconds} s.`,
      suggestion: 'Allow more time; it goes on meanwhile.',
      retryable: true,
    },
    { status: cause.status, retryAfterSeconds: cause.retryAfterSeconds, cause },
  );
}

function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
