/** Typed clients of a served API, and what tests say of their answers. */
import assert from 'node:assert/strict';
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import type { ExecSpec } from '../../../sandboxes/spec.ts';
import { deadline } from '../../../sandboxes/testing/domain.ts';
import { BASE_IMAGE } from '../../../sandboxes/testing/test-images.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { TaskCommandRouter } from '../gen/modal/task_command_router_pb.ts';
import { parseSandboxId } from '../rpc/fields.ts';
import { type ServedApi, type ServedApiOptions, serveApi } from './served-api.ts';

/** Bytes of a text. */
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function transport(served: ServedApi, headers: Readonly<Record<string, string>>) {
  const withHeaders: Interceptor = (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
    return next(request);
  };
  return createGrpcTransport({ baseUrl: `http://localhost:${served.port}`, interceptors: [withHeaders] });
}

/** A client of the control plane, by default with the right credentials. */
export const controlPlane = (
  served: ServedApi,
  headers: Readonly<Record<string, string>> = served.credentials,
) => createClient(ModalClient, transport(served, headers));

/** A client of the command router of the sandbox that the token opens. */
export const router = (served: ServedApi, jwt: string) =>
  createClient(TaskCommandRouter, transport(served, { authorization: `Bearer ${jwt}` }));

/** For `assert.rejects`: the status, and what its message must say. */
export const code =
  (expected: Code, message?: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ConnectError, String(error));
    assert.equal(Code[error.code], Code[expected], error.message);
    if (message) assert.match(error.rawMessage, message);
    return true;
  };

/** Serves the API for the time of `use`. */
export async function withApi(
  use: (served: ServedApi) => Promise<void>,
  options?: ServedApiOptions,
): Promise<void> {
  await using served = await serveApi(options);
  await use(served);
}

/** The least that a sandbox can be made of. */
export const definition = { imageId: BASE_IMAGE, timeoutSecs: 300, entrypointArgs: ['cat'] };

/** A sandbox, as the domain has it, with its router client. */
export async function sandbox(
  served: ServedApi,
  extra: Partial<{ name: string; verbose: boolean; entrypointArgs: string[] }> = {},
) {
  const client = controlPlane(served);
  const created = await client.sandboxCreateV2({
    appId: served.appId,
    definition: { ...definition, ...extra },
  });
  assert.ok(created.commandRouterAccess);
  const made = served.sandboxes.get(parseSandboxId(created.sandboxId));
  return { client, created, made, exec: router(served, created.commandRouterAccess.jwt) };
}

/** One that runs. */
export async function runningSandbox(...args: Parameters<typeof sandbox>) {
  const all = await sandbox(...args);
  await all.made.waitUntilRunning(deadline());
  return all;
}

/** What the domain is asked to run in a sandbox from now on. */
export function execSpecsOf(made: Sandbox): readonly ExecSpec[] {
  const specs: ExecSpec[] = [];
  const exec = made.exec.bind(made);
  made.exec = (id, spec, signal) => {
    specs.push(spec);
    return exec(id, spec, signal);
  };
  return specs;
}

/** The whole of a stream of output, as text. */
export async function collect(stream: AsyncIterable<{ readonly data: Uint8Array }>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const { data } of stream) {
    assert.notEqual(data.length, 0, 'clients fail on empty chunks');
    chunks.push(data);
  }
  return Buffer.concat(chunks).toString('utf8');
}
