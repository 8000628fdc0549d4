/** Hand-made calls, for what the official clients would never send. */
import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { type Client, Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ModalClient } from '../../../server/src/api/modal/gen/modal/service_pb.ts';
import { TaskCommandRouter } from '../../../server/src/api/modal/gen/modal/task_command_router_pb.ts';
import type { TestServer } from '../../support/server.ts';

export type RouterClient = Client<typeof TaskCommandRouter>;

function transport(server: TestServer, headers: Readonly<Record<string, string>>) {
  const withHeaders: Interceptor = (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
    return next(request);
  };
  return createGrpcTransport({ baseUrl: server.url, interceptors: [withHeaders] });
}

export const controlPlane = (server: TestServer): Client<typeof ModalClient> =>
  createClient(
    ModalClient,
    transport(server, {
      'x-modal-token-id': server.token.tokenId,
      'x-modal-token-secret': server.token.tokenSecret,
    }),
  );

/** The command router, with whatever is given as the token. */
export const router = (server: TestServer, jwt: string): RouterClient =>
  createClient(TaskCommandRouter, transport(server, { authorization: `Bearer ${jwt}` }));

/** For `assert.rejects`: the status, and what its message must say. */
export const code =
  (expected: Code, message?: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ConnectError, String(error));
    assert.equal(Code[error.code], Code[expected], error.message);
    if (message) assert.match(error.rawMessage, message);
    return true;
  };

/** Sends raw bytes as the body of a gRPC call. Gives the status of the answer, or undefined when the stream was reset. */
export async function rawCall(
  server: TestServer,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
): Promise<string | undefined> {
  const session = connect(server.url);
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    const status = Promise.withResolvers<string | undefined>();
    const read = (received: Record<string, unknown>) => {
      if (received['grpc-status'] !== undefined) status.resolve(String(received['grpc-status']));
    };
    stream.on('response', read).on('trailers', read);
    stream.on('error', () => {}).once('close', () => status.resolve(undefined));
    stream.resume();
    stream.end(body);
    return await status.promise;
  } finally {
    session.destroy();
  }
}

/** The whole of a stream of output. */
export async function collect(stream: AsyncIterable<{ readonly data: Uint8Array }>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const { data } of stream) chunks.push(data);
  return Buffer.concat(chunks).toString('utf8');
}
