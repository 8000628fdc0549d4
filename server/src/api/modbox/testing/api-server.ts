/** The REST interface over the fake domain, on a real port. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import { createLogger } from '../../../telemetry/logger.ts';
import { createModboxApi, type ModboxApi, type ModboxDeps } from '../modbox-api.ts';
import type {
  defaultImageAnswer,
  ErrorAnswer,
  execAnswer,
  fileList,
  fileWritten,
  logsAnswer,
  processAnswer,
  processList,
  sandboxAnswer,
  sandboxList,
} from '../schemas.ts';
import { FakeImages, FakeSandboxes, fakeApps, fakeAuth } from './fake-domain.ts';

type AnswerOf<Schema extends z.ZodType> = Omit<z.output<Schema>, 'status'>;
/**
 * The fields of every answer at once: a test looks into the ones it expects, and an assertion fails on one that is not there. The OpenAPI test holds
 * the shapes.
 */
export type AnyAnswer = { readonly status: string } & AnswerOf<typeof sandboxAnswer> &
  AnswerOf<typeof sandboxList> &
  AnswerOf<typeof defaultImageAnswer> &
  AnswerOf<typeof execAnswer> &
  AnswerOf<typeof processList> &
  AnswerOf<typeof logsAnswer> &
  Omit<AnswerOf<typeof processAnswer>, 'exitCode' | 'timedOut'> &
  AnswerOf<typeof fileList> &
  AnswerOf<typeof fileWritten> & { readonly error: Required<ErrorAnswer['error']> };

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The body as JSON; an empty object when it is not. */
  readonly json: AnyAnswer;
  readonly text: string;
}

export interface CallOptions {
  /** Bearer token; the API token or the key for all sandboxes by default. Null sends none. */
  readonly key?: string | null;
  readonly body?: unknown;
  readonly raw?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

export class ApiServer implements AsyncDisposable {
  readonly url: string;
  readonly api: ModboxApi;
  readonly sandboxes: FakeSandboxes;
  readonly images: FakeImages;
  readonly logLines: string[];
  /** Everything that was answered, for the OpenAPI test: method, path without query, status, content type, body. */
  readonly answers: { method: string; path: string; status: number; type: string; body: string }[] = [];
  readonly #close: () => Promise<void>;

  private constructor(
    parts: Pick<ApiServer, 'url' | 'api' | 'sandboxes' | 'images' | 'logLines'>,
    close: () => Promise<void>,
  ) {
    this.url = parts.url;
    this.api = parts.api;
    this.sandboxes = parts.sandboxes;
    this.images = parts.images;
    this.logLines = parts.logLines;
    this.#close = close;
  }

  static async start(options: Partial<ModboxDeps> = {}): Promise<ApiServer> {
    const directory = mkdtempSync(join(tmpdir(), 'modbox-test-'));
    writeFileSync(join(directory, 'Dockerfile'), 'FROM python:3.12-slim\n');
    const sandboxes = new FakeSandboxes(join(directory, 'sandboxes'));
    const images = new FakeImages(join(directory, 'layer'));
    const logLines: string[] = [];
    const api = createModboxApi({
      sandboxes,
      images,
      apps: fakeApps(),
      auth: fakeAuth,
      logger: createLogger('info', { write: (line) => logLines.push(line) }),
      defaultImageDirectory: directory,
      ...options,
    });
    const server = createServer((request, response) => void api.handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening on a port');
    const url = `http://127.0.0.1:${address.port}`;
    return new ApiServer({ url, api, sandboxes, images, logLines }, async () => {
      await api.close();
      for (const sandbox of sandboxes.all) await sandbox.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(directory, { recursive: true, force: true });
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close();
  }

  async fetch(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const { key = path.startsWith('/sandboxes') ? 'key-for-all' : 'id:secret', body, raw } = options;
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(body === undefined && raw === undefined ? {} : { body: raw ?? JSON.stringify(body) }),
    });
    const copy = await response.clone().text();
    this.answers.push({
      method,
      path: path.split('?')[0] ?? '',
      status: response.status,
      type: response.headers.get('content-type') ?? '',
      body: copy,
    });
    return response;
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const response = await this.fetch(method, path, options);
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : {} };
  }

  /** Provisions a sandbox and returns the base path of its own API. */
  async sandbox(taskId = 'task'): Promise<string> {
    const { json } = await this.call('POST', '/modbox/v1/sandboxes', { body: { taskId, imageId: 'base' } });
    return `/sandboxes/${String(json.sandboxId)}/modbox/api`;
  }
}
