/** One sandbox, reached with its own key: commands, files, background processes, ports. */
import { errorOfStream } from '../../sdk/src/core/errors.ts';
import type { FetchAnswer, HttpClient } from '../../sdk/src/core/http.ts';
import type {
  CommandRequest,
  ConnectToken,
  ConnectTokenRequest,
  ErrorAnswer,
  ExecRequest,
  ExecResult,
  FileEntry,
  FileList,
  KillRequest,
  Process,
  ProcessList,
  ProcessLogs,
  StreamEvents,
  Tunnel,
  TunnelList,
} from './gen/types.ts';
import { readServerSentEvents } from './server-sent-events.ts';

/** Optional fields may also be given as `undefined`, as an unset environment variable is. */
export type Loose<T> = { [K in keyof T]: object extends Pick<T, K> ? T[K] | undefined : T[K] };

export interface Options {
  /** Ends the call; a command that the server runs for it is ended too. */
  readonly signal?: AbortSignal | undefined;
}

/** A piece of a streamed command's output, or its end, which is the last. */
export type ExecEvent =
  | { readonly type: 'stdout' | 'stderr'; readonly text: string }
  | ({ readonly type: 'exit' } & NonNullable<StreamEvents['exit']>);

const API = '/modbox/api';

export class SandboxConnection {
  readonly #http: HttpClient;

  /** @internal `ModboxClient.connect` makes these. */
  constructor(http: HttpClient) {
    this.#http = http;
  }

  /**
   * Runs a command to its end. For one that may take longer than 5 minutes use `execStream`: Node's `fetch` gives up on an answer that does
   * not begin.
   */
  exec(request: Loose<ExecRequest>, options: Options = {}): Promise<ExecResult> {
    return this.#http.call('POST', `${API}/exec`, { json: request, ...options });
  }

  /** Runs a command and yields its output as it comes. Leaving the loop early ends the command. @throws SandboxEndedError */
  async *execStream(request: Loose<CommandRequest>, options: Options = {}): AsyncGenerator<ExecEvent, void> {
    const response = await this.#http.send('POST', `${API}/exec/stream`, { json: request, ...options });
    yield* this.#execEvents(response);
  }

  /** @throws NotFoundError, ConflictError for a directory */
  async readFile(path: string, options: Options = {}): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#http.send('GET', `${API}/files`, { query: { path }, ...options });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** As `readFile`, decoded as UTF-8. */
  async readTextFile(path: string, options: Options = {}): Promise<string> {
    return new TextDecoder().decode(await this.readFile(path, options));
  }

  /** Creates or replaces a file; missing directories are made. */
  async writeFile(
    path: string,
    content: string | Uint8Array<ArrayBuffer> | Blob,
    options: Options = {},
  ): Promise<void> {
    await this.#http.call('PUT', `${API}/files`, { query: { path }, body: content, ...options });
  }

  async deleteFile(path: string, options: Options & { readonly recursive?: boolean } = {}): Promise<void> {
    const { recursive, signal } = options;
    await this.#http.call('DELETE', `${API}/files`, { query: { path, recursive }, signal });
  }

  /** What is directly in a directory, by name. */
  async listFiles(path: string, options: Options = {}): Promise<FileEntry[]> {
    const list = await this.#http.call<FileList>('GET', `${API}/files/list`, { query: { path }, ...options });
    return list.entries;
  }

  /** Shows in the sandbox's volumes what others have written since it started, or since the last reload. */
  async reloadVolumes(options: Options = {}): Promise<void> {
    await this.#http.call('POST', `${API}/volumes/reload`, options);
  }

  /** Where the ports are that it was provisioned with. @throws NotReadyError while it starts, SandboxEndedError */
  async tunnels(options: Options = {}): Promise<Tunnel[]> {
    return (await this.#http.call<TunnelList>('GET', `${API}/tunnels`, options)).tunnels;
  }

  /**
   * A URL and a token for HTTP requests and websockets to a port, 8080 by default, whether the sandbox was provisioned with it or not. The token goes into
   * `Authorization: Bearer`, or as `_modal_connect_token` into the query. @throws SandboxEndedError
   */
  createConnectToken(request: Loose<ConnectTokenRequest> = {}, options: Options = {}): Promise<ConnectToken> {
    return this.#http.call('POST', `${API}/connect-tokens`, { json: request, ...options });
  }

  /** Starts a process that outlives this call. */
  startProcess(request: Loose<CommandRequest>, options: Options = {}): Promise<Process> {
    return this.#http.call('POST', `${API}/processes`, { json: request, ...options });
  }

  async listProcesses(options: Options = {}): Promise<Process[]> {
    return (await this.#http.call<ProcessList>('GET', `${API}/processes`, options)).processes;
  }

  /** Output from the given offsets on, as far as there is any. */
  processLogs(
    processId: string,
    options: Options & { readonly stdoutOffset?: number; readonly stderrOffset?: number } = {},
  ): Promise<ProcessLogs> {
    const { signal, stdoutOffset, stderrOffset } = options;
    const query = { stdoutOffset, stderrOffset };
    return this.#http.call('GET', `${processPath(processId)}/logs`, { query, signal });
  }

  /** Yields a background process's output from the start, as it comes, until its end. */
  async *followProcess(processId: string, options: Options = {}): AsyncGenerator<ExecEvent, void> {
    yield* this.#execEvents(await this.#http.send('GET', `${processPath(processId)}/logs/stream`, options));
  }

  /** Sends a signal, SIGTERM by default, to the process and everything it started. */
  killProcess(processId: string, request: KillRequest = {}, options: Options = {}): Promise<Process> {
    return this.#http.call('POST', `${processPath(processId)}/kill`, { json: request, ...options });
  }

  async *#execEvents(response: FetchAnswer): AsyncGenerator<ExecEvent, void> {
    for await (const { event, data } of readServerSentEvents(response)) {
      // The shapes are the server's promise (StreamEvents); events of a later version are passed over.
      if (event === 'stdout' || event === 'stderr')
        yield { type: event, text: (data as { text: string }).text };
      else if (event === 'exit') yield { type: 'exit', ...(data as NonNullable<StreamEvents['exit']>) };
      else if (event === 'error') throw errorOfStream((data as ErrorAnswer).error, this.#http.face);
    }
  }
}

const processPath = (processId: string) => `${API}/processes/${encodeURIComponent(processId)}`;
