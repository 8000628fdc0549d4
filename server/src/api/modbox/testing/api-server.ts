/** The REST interface on a real port, over the real domain and the fake engine. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { z } from 'zod';
import { ConnectTokens } from '../../../auth/connect-tokens.ts';
import type { Scope } from '../../../auth/scopes.ts';
import type { TokenFile } from '../../../auth/token-file.ts';
import type { TokenStore } from '../../../auth/token-store.ts';
import { configSchema } from '../../../config/config.ts';
import type { SandboxId } from '../../../ids.ts';
import { DefaultImage } from '../../../images/default-image.ts';
import { ImageResolver } from '../../../images/image-resolver.ts';
import { Cleanup } from '../../../platform/cleanup.ts';
import { mayEnter } from '../../../sandboxes/inbound.ts';
import { Provisioner } from '../../../sandboxes/provisioner.ts';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import { Domain, type DomainOptions, deadline } from '../../../sandboxes/testing/domain.ts';
import { loadCertificate } from '../../../transport/certificate.ts';
import { routeRequests } from '../../../transport/routes.ts';
import { openTunnels } from '../../../tunnels/open-tunnels.ts';
import { dashboardRoutes } from '../../dashboard/dashboard-routes.ts';
import type {
  connectTokenAnswer,
  ErrorAnswer,
  fileList,
  fileWritten,
  tunnelList,
} from '../../http/fields.ts';
import { createRestApi } from '../../rest/rest-api.ts';
import { openTokens } from '../../testing/owner-token.ts';
import { createModboxApi, type ModboxDeps } from '../modbox-api.ts';
import type {
  defaultImageAnswer,
  execAnswer,
  logsAnswer,
  processAnswer,
  processList,
  sandboxAnswer,
  sandboxList,
} from '../schemas.ts';

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
  AnswerOf<typeof fileWritten> &
  AnswerOf<typeof tunnelList> &
  AnswerOf<typeof connectTokenAnswer> & { readonly error: Required<ErrorAnswer['error']> };

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The body as JSON; an empty object when it is not. */
  readonly json: AnyAnswer;
  readonly text: string;
}

export interface CallOptions {
  /** Bearer token; the one that fits the path by default. Null sends none. */
  readonly key?: string | null;
  readonly body?: unknown;
  readonly raw?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ApiServerOptions extends Pick<ModboxDeps, 'maxFileBytes'> {
  /** How long a call waits for an image; 20 s by default. */
  readonly imagePatienceMs?: number;
  readonly config?: DomainOptions['config'];
  readonly checkpoints?: DomainOptions['checkpoints'];
  /** Of the default image. */
  readonly dockerfile?: string;
}

export class ApiServer implements AsyncDisposable {
  readonly url: string;
  readonly domain: Domain;
  /** `<id>:<secret>`, the token that provisions. */
  readonly token: string;
  /** Reaches every sandbox. */
  readonly apiKey: string;
  /** Everything that was answered, for the OpenAPI test: method, path without query, status, content type, body. */
  readonly answers: { method: string; path: string; status: number; type: string; body: string }[] = [];
  readonly tokens: TokenStore;
  readonly #cleanup: Cleanup;

  private constructor(
    url: string,
    parts: { domain: Domain; tokens: TokenStore; token: TokenFile },
    cleanup: Cleanup,
  ) {
    this.url = url;
    this.domain = parts.domain;
    this.token = `${parts.token.tokenId}:${parts.token.tokenSecret}`;
    this.apiKey = parts.token.apiKey;
    this.tokens = parts.tokens;
    this.#cleanup = cleanup;
  }

  static async start(options: ApiServerOptions = {}): Promise<ApiServer> {
    const { config, dockerfile = 'FROM base', imagePatienceMs, checkpoints = false, ...rest } = options;
    const cleanup = new Cleanup();
    try {
      const domain = await Domain.open({ config: { runtime: 'gvisor', ...config }, checkpoints });
      cleanup.add('domain', () => domain[Symbol.asyncDispose]());
      const { tokens, token } = await openTokens(domain);
      const directory = join(domain.root, 'default-image');
      await mkdir(directory);
      await writeFile(join(directory, 'Dockerfile'), dockerfile);
      const { manager: sandboxes, images, apps, logger } = domain;
      const defaultImage = new DefaultImage({ images, directory, logger });
      const resolver = new ImageResolver({
        images,
        defaultImage,
        ...(imagePatienceMs === undefined ? {} : { patienceMs: imagePatienceMs }),
      });
      const provisioner = new Provisioner({
        sandboxes,
        apps,
        images: resolver,
        volumes: domain.volumes,
        digestKey: () => tokens.apiKeyForToken(),
      });
      const { dataDir, store } = domain;
      const opened = await openTunnels({
        ...{ config: configSchema.parse({ dataDir }), sandboxes, logger, names: [], now: Date.now },
        certificate: await loadCertificate({
          ...{ dataDir, certFile: '', keyFile: '', names: [], now: Date.now },
        }),
        repository: store.tunnels,
        gateways: {
          repository: store.gateways,
          tokens: new ConnectTokens(tokens.signingKey, Date.now),
        },
        follow: (follower) => sandboxes.follow(follower),
        mayEnter: ({ spec }, address) => mayEnter(spec.inboundCidrs, address),
      });
      cleanup.add('tunnels', () => opened.close());
      const http = {
        ...{ sandboxes, logger, auth: tokens, ...rest },
        ...{ tunnels: opened.tunnels, httpAccess: opened.gateways },
      };
      const modbox = createModboxApi({ ...http, provisioner, defaultImage });
      const { volumes, volumeFiles, volumeMounts, blobs, secrets } = domain;
      const own = createRestApi({
        ...{ ...http, apps, images: resolver, secrets, life: sandboxes },
        ...{ volumes, volumeFiles, volumeMounts, blobs },
      });
      const routes = [modbox, own].flatMap(({ prefixes, handle }) =>
        prefixes.map((prefix) => ({ prefix, handle })),
      );
      const dashboard = dashboardRoutes({
        ...{ tokens, vault: domain.vault, instance: '01234567', routes, logger, now: Date.now },
        directory: join(domain.root, 'no-dashboard'),
      });
      const rpc = { owns: () => false, handle: () => {} };
      const server = createServer(routeRequests({ rpc, routes: [...routes, ...dashboard], logger }));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      cleanup.add('port', async () => {
        await Promise.all([modbox.close(), own.close()]);
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      });
      const address = server.address();
      if (address === null || typeof address === 'string') throw new Error('not listening on a port');
      return new ApiServer(`http://127.0.0.1:${address.port}`, { domain, tokens, token }, cleanup);
    } catch (error) {
      await cleanup.run();
      throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.run();
  }

  /** The key of that sandbox alone. */
  keyOf(sandboxId: string): string {
    return this.tokens.sandboxKey(sandboxId as SandboxId); // an id or what is tried as one
  }

  /** A further token, and its bearer. */
  issue(scope: Scope): { readonly tokenId: string; readonly bearer: string; readonly apiKey: string } {
    const { tokenId, tokenSecret } = this.tokens.issue({ label: '', scope });
    return {
      tokenId,
      bearer: `${tokenId}:${tokenSecret}`,
      apiKey: this.tokens.apiKeyForToken(tokenId),
    };
  }

  /** The running sandbox of a task. @throws when there is none */
  of(taskId: string): Sandbox {
    const sandbox = this.domain.manager.findByExternalKey(taskId);
    if (!sandbox) throw new Error(`nothing runs for ${taskId}`);
    return sandbox;
  }

  async fetch(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const { key = path.startsWith('/sandboxes') ? this.apiKey : this.token, body, raw } = options;
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

  /** Provisions a sandbox, waits until it runs and returns the base path of its own API. */
  async sandbox(taskId = 'task', more: object = {}): Promise<string> {
    const body = { taskId, imageId: 'base', ...more };
    const { status, text } = await this.call('POST', '/modbox/v1/sandboxes', { body });
    if (status > 201) throw new Error(`not provisioned: ${status} ${text}`);
    const sandbox = this.of(taskId);
    await sandbox.waitUntilRunning(deadline());
    return `/sandboxes/${sandbox.id}/modbox/api`;
  }
}
