/**
 * A server that does nothing: it answers what the bench's client asks with bytes made beforehand, runs no program and keeps no data. What a measure takes against it is
 * the client's own. Prints its port.
 */
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { AppGetOrCreateResponseSchema } from '../server/src/api/modal/gen/modal/apps_pb.ts';
import { EnvironmentGetOrCreateResponseSchema } from '../server/src/api/modal/gen/modal/environments_pb.ts';
import { ImageGetOrCreateResponseSchema } from '../server/src/api/modal/gen/modal/images_pb.ts';
import {
  SandboxCreateV2ResponseSchema,
  SandboxGetCommandRouterAccessResponseSchema,
} from '../server/src/api/modal/gen/modal/sandboxes_pb.ts';
import {
  TaskExecStartRequestSchema,
  TaskExecStartResponseSchema,
  TaskExecStdinWriteResponseSchema,
  TaskExecStdinWriteStreamResponseSchema,
  TaskExecStdioFileDescriptor,
  TaskExecStdioReadRequestSchema,
  TaskExecStdioReadResponseSchema,
  TaskExecWaitResponseSchema,
} from '../server/src/api/modal/gen/modal/task_command_router_pb.ts';
import { AuthTokenGetResponseSchema } from '../server/src/api/modal/gen/modal/workspace_pb.ts';
import { AccessTokens } from '../server/src/auth/access-tokens.ts';
import type { SandboxId, TaskId } from '../server/src/ids.ts';

const CHUNK_BYTES = 64 * 1024;
const PREFIX_BYTES = 5;
const [sandboxId, taskId] = ['sb-nothing' as SandboxId, 'ta-nothing' as TaskId];

const tokens = new AccessTokens(new Uint8Array(32), Date.now);
const jwt = await tokens.forRouter({ sandboxId, taskId, tokenId: undefined });
const callerToken = await tokens.forCaller('ak-nothing');
/** How many bytes each exec prints. */
const outputs = new Map<string, number>();
/** What the last file was written with. */
let fileBytes = 0;

function message<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Buffer {
  const bytes = toBinary(schema, create(schema, init));
  const framed = Buffer.alloc(PREFIX_BYTES + bytes.length);
  framed.writeUInt32BE(bytes.length, 1);
  framed.set(bytes, PREFIX_BYTES);
  return framed;
}

const chunk = message(TaskExecStdioReadResponseSchema, { data: new Uint8Array(CHUNK_BYTES) });
const server = http2.createServer({
  maxSessionMemory: 1024,
  settings: { initialWindowSize: 16 << 20, maxConcurrentStreams: 10_000 },
});
server.on('session', (session) => session.setLocalWindowSize(64 << 20));
/** The client insists on `https`, and speaks plaintext all the same on localhost. */
const routerUrl = () => `https://127.0.0.1:${(server.address() as AddressInfo).port}`;

const answers: Readonly<Record<string, (request: Buffer) => Buffer | Iterable<Buffer>>> = {
  AuthTokenGet: () => message(AuthTokenGetResponseSchema, { token: callerToken }),
  AppGetOrCreate: () => message(AppGetOrCreateResponseSchema, { appId: 'ap-nothing' }),
  EnvironmentGetOrCreate: () =>
    message(EnvironmentGetOrCreateResponseSchema, {
      environmentId: 'en-nothing',
      metadata: { name: 'main', settings: { imageBuilderVersion: '2025.06' } },
    }),
  ImageGetOrCreate: () =>
    message(ImageGetOrCreateResponseSchema, { imageId: 'im-nothing', result: { status: 1 } }),
  SandboxCreateV2: () => message(SandboxCreateV2ResponseSchema, { sandboxId, taskId }),
  SandboxGetCommandRouterAccess: () =>
    message(SandboxGetCommandRouterAccessResponseSchema, { url: routerUrl(), jwt }),
  TaskExecStart: (request) => {
    const { execId, commandArgs } = fromBinary(TaskExecStartRequestSchema, request);
    const [program = '', ...args] = commandArgs;
    if (program === 'head') outputs.set(execId, Number(args[1]));
    if (args[0]?.includes('ReadFile')) outputs.set(execId, fileBytes);
    return message(TaskExecStartResponseSchema, {});
  },
  TaskExecStdioRead: (request) => {
    const { execId, fileDescriptor } = fromBinary(TaskExecStdioReadRequestSchema, request);
    return chunks(fileDescriptor === TaskExecStdioFileDescriptor.STDOUT ? (outputs.get(execId) ?? 0) : 0);
  },
  TaskExecWait: () => message(TaskExecWaitResponseSchema, { exitStatus: { case: 'code', value: 0 } }),
  TaskExecStdinWrite: () => message(TaskExecStdinWriteResponseSchema, {}),
  TaskExecStdinWriteStream: () => message(TaskExecStdinWriteStreamResponseSchema, {}),
};

function* chunks(bytes: number): Iterable<Buffer> {
  for (let sent = 0; sent < bytes; sent += CHUNK_BYTES) yield chunk;
}

server.on('stream', (stream, headers) => {
  const rpc = headers[':path']?.split('/').at(-1) ?? '';
  const answer = answers[rpc];
  const kept: Buffer[] = [];
  let size = 0;
  stream.on('error', () => {}); // the client is gone
  stream.on('data', (bytes: Buffer) => {
    size += bytes.length;
    if (rpc !== 'TaskExecStdinWriteStream' && rpc !== 'TaskExecStdinWrite') kept.push(bytes);
  });
  stream.on('end', () => {
    if (rpc === 'TaskExecStdinWriteStream') fileBytes = Math.floor(size / CHUNK_BYTES) * CHUNK_BYTES;
    const status = answer ? '0' : '12';
    stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }));
    const given = answer?.(Buffer.concat(kept).subarray(PREFIX_BYTES)) ?? [];
    send(stream, (Buffer.isBuffer(given) ? [given] : given)[Symbol.iterator]());
  });
});

function send(stream: http2.ServerHttp2Stream, pieces: Iterator<Buffer>): void {
  for (let next = pieces.next(); ; next = pieces.next()) {
    if (next.done) return void stream.end();
    if (!stream.write(next.value)) return void stream.once('drain', () => send(stream, pieces));
  }
}

server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
