/** A sandbox. */
import { CodeContext, type CodeResult, type Language, type RunCodeOptions } from './code.ts';
import { type ConnectionOptions, connect } from './connection.ts';
import { unreachable } from './core/errors.ts';
import { eachPage, type HttpClient } from './core/http.ts';
import { readLines } from './core/lines.ts';
import { unlessAborted, untilImage, untilSo } from './core/wait.ts';
import { SandboxFiles } from './files.ts';
import type {
  CheckpointInfo,
  CheckpointInfos,
  ConnectToken,
  ForkMade,
  ForkRequest,
  LifeEvent,
  NetworkRequest,
  ProcessInfo,
  ProcessInfos,
  ProcessStart,
  RestoreRequest,
  SandboxCreate,
  SandboxEvent,
  SandboxEvents,
  SandboxInfo,
  SandboxPage,
  SecretHeadersRequest,
  SnapshotMade,
  StartupInfo,
  TerminalSize,
  Tunnel,
  TunnelList,
  Usage,
  UsageList,
} from './gen/types.ts';
import { type Input, type Options, Process } from './process.ts';
import { shellCommand, type Word } from './quote.ts';
import { randomUuid } from './random-uuid.ts';

/** Optional fields may also be given as `undefined`, as an unset environment variable is. */
export type Loose<T> = { [K in keyof T]: object extends Pick<T, K> ? T[K] | undefined : T[K] };

/** What a sandbox is to be, where, and for how long to wait for it. */
export interface CreateOptions extends Loose<SandboxCreate>, ConnectionOptions, Options {
  /** How long to wait for an image that is still being fetched or built; 15 minutes by default. */
  readonly imageTimeoutMs?: number | undefined;
}

/** How a program is to run. */
export interface ExecOptions {
  /** Its input: text, bytes, or pieces as they come. 'open': what is written to `process.stdin`. Default: it is at its end. */
  readonly stdin?: Input | 'open' | undefined;
  /** Added to the sandbox's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Names of stored secrets. */
  readonly secrets?: readonly string[] | undefined;
  /** Absolute. Default: the sandbox's. */
  readonly cwd?: string | undefined;
  /** Then it and everything it started is killed. */
  readonly timeoutMs?: number | undefined;
  /** It gets a terminal of that size; all its output is stdout then. */
  readonly pty?: TerminalSize | undefined;
  /** Kills it. */
  readonly signal?: AbortSignal | undefined;
}

/** Which sandboxes are to be listed. */
export interface ListOptions extends ConnectionOptions, Options {
  /** Default: only those that have not ended. */
  readonly includeEnded?: boolean | undefined;
  readonly app?: string | undefined;
  /** The one of that name in its app. */
  readonly name?: string | undefined;
  /** All must match. */
  readonly tags?: Readonly<Record<string, string>> | undefined;
}

const DEFAULT_IMAGE_TIMEOUT_MS = 15 * 60_000;
const ENTRYPOINT = 'entrypoint';

/** A sandbox of a Skerry server. Disposing of it (`await using`) ends it. */
export class Sandbox implements AsyncDisposable {
  readonly id: string;
  readonly files: SandboxFiles;
  readonly #http: HttpClient;
  readonly #path: string;
  #info: SandboxInfo;
  /** Of `runCode`, by language. */
  readonly #contexts = new Map<Language, Promise<CodeContext>>();

  private constructor(http: HttpClient, info: SandboxInfo) {
    this.id = info.id;
    this.#http = http;
    this.#info = info;
    this.#path = sandboxPath(info.id);
    this.files = new SandboxFiles(http, this.#path);
  }

  /**
   * Makes a sandbox and waits until it runs.
   * @throws NotFoundError (image, secret), ConflictError (name), QuotaError, ImageBuildError, WaitTimeoutError (image), SandboxEndedError when it cannot start
   */
  static async create(options: CreateOptions = {}): Promise<Sandbox> {
    const { url, token, fetch, signal, imageTimeoutMs = DEFAULT_IMAGE_TIMEOUT_MS, ...request } = options;
    const http = connect({ url, token, fetch });
    const make = async () => {
      const info = await http.call<SandboxInfo>('POST', '/v1/sandboxes', { json: request, signal });
      const sandbox = new Sandbox(http, info);
      // One with a command may have run and ended by then, which is no failure.
      await sandbox.#untilRunning(info.hasCommand, signal);
      return sandbox;
    };
    return untilImage(make, { field: 'image', timeoutMs: imageTimeoutMs, signal });
  }

  /** A sandbox by its id, whoever made it, running or ended. @throws NotFoundError */
  static async get(id: string, options: ConnectionOptions & Options = {}): Promise<Sandbox> {
    const { signal, ...connection } = options;
    const http = connect(connection);
    return new Sandbox(http, await http.call<SandboxInfo>('GET', sandboxPath(id), { signal }));
  }

  /** All sandboxes that run, newest first, whoever made them; with `includeEnded` also those that ended. */
  static async *list(options: ListOptions = {}): AsyncGenerator<Sandbox, void> {
    const { signal, includeEnded, app, name, tags = {}, ...connection } = options;
    const http = connect(connection);
    const tag = Object.entries(tags).map(([key, value]) => `${key}=${value}`);
    const query = { includeEnded, app, name, tag };
    const pages = eachPage<SandboxPage>(http, '/v1/sandboxes', { query, signal });
    for await (const { sandboxes } of pages) for (const info of sandboxes) yield new Sandbox(http, info);
  }

  /**
   * A sandbox that goes on where another was when `checkpoint` was taken, and waits until it runs.
   * @throws NotFoundError (checkpoint), ConflictError (name; a checkpoint of another build of the runtime), QuotaError
   */
  static async restore(
    checkpointId: string,
    options: ConnectionOptions & Options & Loose<RestoreRequest> = {},
  ): Promise<Sandbox> {
    const { signal, name, ...connection } = options;
    const http = connect(connection);
    const path = `${checkpointPath(checkpointId)}/restore`;
    const sandbox = new Sandbox(http, await http.call<SandboxInfo>('POST', path, { json: { name }, signal }));
    await sandbox.#untilRunning(sandbox.info.hasCommand, signal);
    return sandbox;
  }

  /** Forgets a checkpoint, whose sandbox need not be there any more. @throws NotFoundError */
  static async deleteCheckpoint(
    checkpointId: string,
    options: ConnectionOptions & Options = {},
  ): Promise<void> {
    const { signal, ...connection } = options;
    await connect(connection).call('DELETE', checkpointPath(checkpointId), { signal });
  }

  /**
   * What happens to sandboxes from now on, whoever made them: each state they come to. Ends with `signal`, or by leaving the loop.
   * @throws ConnectionError when the connection breaks, or the reader is too far behind: look at `list` then, and follow again
   */
  static async *events(options: ConnectionOptions & Options = {}): AsyncGenerator<LifeEvent, void> {
    const { signal, ...connection } = options;
    const http = connect(connection);
    const response = await http.send('GET', '/v1/events', { signal });
    for await (const line of readLines(response)) if (line !== '') yield JSON.parse(line) as LifeEvent;
    signal?.throwIfAborted();
    throw unreachable('The server', new Error('the events broke off'), http.face);
  }

  /** What each running sandbox takes of the machine now, whoever made it. A sandbox's own key cannot ask this. */
  static async usage(options: ConnectionOptions & Options = {}): Promise<Usage[]> {
    const { signal, ...connection } = options;
    return (await connect(connection).call<UsageList>('GET', '/v1/usage', { signal })).sandboxes;
  }

  /** What was known of it when this was made, or at the last `refresh`, `wait` or `terminate`. */
  get info(): SandboxInfo {
    return this.#info;
  }

  /** Asks the server what is with it now. */
  refresh(options: Options = {}): Promise<SandboxInfo> {
    return this.#update('GET', '', options);
  }

  /**
   * Starts a program, without a shell: nothing needs quoting. Awaited, it gives the result once the program ended, whatever the exit code.
   * @throws when awaited: InvalidRequestError (no such program, directory), SandboxEndedError, the signal's reason
   */
  exec(argv: readonly string[], options: ExecOptions = {}): Process {
    return this.#start({ argv: [...argv] }, options, false);
  }

  /**
   * Runs a command of a shell (bash where the image has it, else sh). Values are single words, quoted, whatever is in them; a list is several.
   * @throws when awaited: CommandError for another exit code than 0, unless `.nothrow()`
   */
  $(strings: TemplateStringsArray, ...values: readonly Word[]): Process {
    return this.#start({ command: shellCommand(strings, values) }, {}, true);
  }

  /** As `$`, with options: `` sandbox.shell({ cwd: '/src' })`make` `` */
  shell(options: ExecOptions): (strings: TemplateStringsArray, ...values: readonly Word[]) => Process {
    return (strings, ...values) => this.#start({ command: shellCommand(strings, values) }, options, true);
  }

  /**
   * Runs code in an interpreter that lives as long as this object: variables are there the next time. The code's own failure is in the result.
   * @throws InvalidRequestError when the image has no such interpreter; SkerryError `interpreter-ended` when the code ended it: the next code begins another
   */
  async runCode(language: Language, code: string, options: RunCodeOptions = {}): Promise<CodeResult> {
    const { signal } = options;
    let context = this.#contexts.get(language);
    if (!context || (await unlessAborted(context, signal)).ended) {
      context = this.createContext(language); // others may wait for it too
      this.#contexts.set(language, context);
      context.catch(() => this.#contexts.delete(language));
    }
    return (await unlessAborted(context, signal)).run(code, options);
  }

  /** A further interpreter, with variables of its own. Disposing of it ends it. */
  createContext(language: Language, options: Options & { readonly cwd?: string } = {}): Promise<CodeContext> {
    return CodeContext.start(this, language, options);
  }

  /** The program it was made with, as `command`. */
  get entrypoint(): Process {
    return this.process(ENTRYPOINT);
  }

  /** A program that was started earlier, by its id. */
  process(id: string, options: Options = {}): Process {
    return new Process(this.#http, this.#path, id, Promise.resolve(), options);
  }

  /** The programs that were started in it, running or not, oldest first. */
  async processes(options: Options = {}): Promise<ProcessInfo[]> {
    return (await this.#http.call<ProcessInfos>('GET', `${this.#path}/processes`, options)).processes;
  }

  /** Where the ports are that it was made with. @throws SandboxEndedError */
  async tunnels(options: Options = {}): Promise<Tunnel[]> {
    return (await this.#http.call<TunnelList>('GET', `${this.#path}/tunnels`, options)).tunnels;
  }

  /**
   * A URL and a token for HTTP requests and websockets to a port, whether the sandbox was made with it or not. The token goes into `Authorization: Bearer`,
   * or as `_modal_connect_token` into the query. @throws SandboxEndedError
   */
  connectToken(port: number, options: Options = {}): Promise<ConnectToken> {
    return this.#http.call('POST', `${this.#path}/connect-tokens`, { json: { port }, ...options });
  }

  /**
   * Makes an image of its files as they are now, or of one directory's; it goes on running. The image's id can be given to `Sandbox.create`.
   * @throws NotFoundError (directory), SandboxEndedError
   */
  async snapshot(
    options: Options & { readonly path?: string; readonly ttlSeconds?: number } = {},
  ): Promise<SnapshotMade> {
    const { signal, ...request } = options;
    return this.#http.call('POST', `${this.#path}/snapshots`, { json: request, signal });
  }

  /**
   * Shows the files of an image at a path, as a snapshot of a directory is one; without an image an empty directory. What is written there is of this mount
   * alone. @throws NotFoundError, InvalidRequestError, SandboxEndedError
   */
  async mountImage(path: string, imageId?: string, options: Options = {}): Promise<void> {
    await this.#http.call('POST', `${this.#path}/mounts`, { json: { path, imageId }, ...options });
  }

  /** Uncovers what is below the image that was mounted last at that path. @throws NotFoundError */
  async unmountImage(path: string, options: Options = {}): Promise<void> {
    await this.#http.call('DELETE', `${this.#path}/mounts`, { query: { path }, ...options });
  }

  /**
   * Copies of it, each under an id of its own, that go on where it is, with the memory of its programs (gVisor). All of them run when this resolves; else there is none.
   * @throws ConflictError, UnsupportedError, QuotaError, SandboxEndedError
   */
  async fork(options: Options & Loose<ForkRequest> = {}): Promise<Sandbox[]> {
    const { signal, ...request } = options;
    const made = await this.#http.call<ForkMade>('POST', `${this.#path}/fork`, { json: request, signal });
    return made.sandboxes.map((info) => new Sandbox(this.#http, info));
  }

  /** Keeps its memory and its files as they are now, for `rollback` and `Sandbox.restore`; it goes on running (gVisor). @throws ConflictError, UnsupportedError */
  checkpoint(options: Options = {}): Promise<CheckpointInfo> {
    return this.#http.call('POST', `${this.#path}/checkpoints`, options);
  }

  /** What was kept of it and has not expired, newest first. */
  async checkpoints(options: Options = {}): Promise<CheckpointInfo[]> {
    return (await this.#http.call<CheckpointInfos>('GET', `${this.#path}/checkpoints`, options)).checkpoints;
  }

  /**
   * Has it go on where it was at a checkpoint: its memory and files are those of then, its volumes those of now. Programs that `exec` started are killed, and
   * so are its interpreters. Resolves when it runs. @throws NotFoundError, ConflictError
   */
  async rollback(checkpointId: string, options: Options = {}): Promise<SandboxInfo> {
    this.#contexts.clear();
    return this.#update('POST', '/rollback', { json: { checkpointId }, ...options });
  }

  /** Keeps it on the disk alone, with the memory of its programs, until something is asked of it that needs it to run (gVisor). @throws ConflictError when it is in use, UnsupportedError */
  suspend(options: Options = {}): Promise<SandboxInfo> {
    return this.#update('POST', '/suspend', options);
  }

  /** Wakes it before something needs it. */
  resume(options: Options = {}): Promise<SandboxInfo> {
    return this.#update('POST', '/resume', { repeatable: true, ...options });
  }

  /** Replaces all its tags. */
  async setTags(tags: Readonly<Record<string, string>>, options: Options = {}): Promise<SandboxInfo> {
    await this.#http.call('PUT', `${this.#path}/tags`, { json: { tags }, repeatable: true, ...options });
    return this.refresh(options);
  }

  /** Says anew what it may reach, from now on; connections that are no longer allowed break. Its own key cannot do this. */
  async setNetwork(network: NetworkRequest['network'], options: Options = {}): Promise<void> {
    await this.#http.call('PUT', `${this.#path}/network`, {
      json: { network },
      repeatable: true,
      ...options,
    });
  }

  /** Replaces what is put into what it sends, of one that was made with `secretHeaders`. @throws ConflictError for one that was not */
  async setSecretHeaders(
    secretHeaders: SecretHeadersRequest['secretHeaders'],
    options: Options = {},
  ): Promise<void> {
    const json = { secretHeaders };
    await this.#http.call('PUT', `${this.#path}/secret-headers`, { json, repeatable: true, ...options });
  }

  /** What Skerry itself has to say about it, oldest first, also after its end: bounds that were hit, what it reached when that is audited, why it ended. */
  async events(options: Options = {}): Promise<SandboxEvent[]> {
    return (await this.#http.call<SandboxEvents>('GET', `${this.#path}/events`, options)).events;
  }

  /** Where the time of its start went; null before it has started, and once another server has it. Its own key cannot ask this. */
  async startup(options: Options = {}): Promise<StartupInfo['startup']> {
    return (await this.#http.call<StartupInfo>('GET', `${this.#path}/startup`, options)).startup;
  }

  /** Shows in its volumes what others have written since it started, or since the last time. */
  async reloadVolumes(options: Options = {}): Promise<void> {
    await this.#http.call('POST', `${this.#path}/volumes/reload`, options);
  }

  /** Waits until it has ended, and says how. @throws WaitTimeoutError */
  async wait(options: Options & { readonly timeoutMs?: number } = {}): Promise<SandboxInfo> {
    const { signal, timeoutMs = Infinity } = options;
    const ask = (timeoutSeconds: number) =>
      this.#update('GET', '/wait', { query: { until: 'ended', timeoutSeconds }, signal });
    return untilSo(ask, `Sandbox ${this.id}`, timeoutMs);
  }

  /** Ends it and everything in it; resolves once it is gone. Ending an ended one changes nothing. */
  terminate(options: Options = {}): Promise<SandboxInfo> {
    return this.#update('DELETE', '', { repeatable: true, ...options });
  }

  /** Ends it: `await using sandbox = …`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.terminate();
  }

  #start(program: Pick<ProcessStart, 'argv' | 'command'>, options: ExecOptions, throws: boolean): Process {
    const { stdin, signal, env, secrets, cwd, timeoutMs, pty } = options;
    const id = randomUuid();
    const request: Loose<ProcessStart> = {
      ...program,
      ...{ env, cwd, timeoutMs, pty },
      secrets: secrets && [...secrets],
      id,
      keepStdin: stdin !== undefined,
    };
    const started = this.#http.call<ProcessInfo>('POST', `${this.#path}/processes`, {
      json: request,
      repeatable: true,
      signal,
    });
    const process = new Process(this.#http, this.#path, id, started, { signal, throws, killOnAbort: true });
    if (stdin !== undefined && stdin !== 'open') {
      // A program that stops reading before the end is no error; one that cannot be started is told elsewhere.
      process.stdin.feed(stdin).catch(() => {});
    }
    return process;
  }

  async #untilRunning(mayHaveEnded: boolean, signal: AbortSignal | undefined): Promise<void> {
    const ask = (timeoutSeconds: number) =>
      this.#update('GET', '/wait', { query: { until: 'running', timeoutSeconds }, signal });
    try {
      await untilSo(ask, `Sandbox ${this.id}`, Number.POSITIVE_INFINITY);
    } catch (error) {
      const { result } = await this.refresh({ signal });
      if (mayHaveEnded && result && result.reason !== 'start-failed') return;
      throw error;
    }
  }

  async #update(
    method: string,
    path: string,
    options: Parameters<HttpClient['call']>[2],
  ): Promise<SandboxInfo> {
    this.#info = await this.#http.call<SandboxInfo>(method, `${this.#path}${path}`, options);
    return this.#info;
  }
}

const checkpointPath = (id: string) => `/v1/checkpoints/${encodeURIComponent(id)}`;
const sandboxPath = (id: string) => `/v1/sandboxes/${encodeURIComponent(id)}`;
