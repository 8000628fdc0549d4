/** The API as other gRPC stacks see it: grpc-js (what the JavaScript client uses) and the real Python client. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import { run } from '../../platform/command.ts';
import { type ServedApi, serveApi } from './testing/served-api.ts';

/** A client that sends raw bytes as messages, so that it can send what a well-behaved one would not. */
function rawClient(served: ServedApi, credentials = grpc.credentials.createInsecure()) {
  return new grpc.Client(`localhost:${served.port}`, credentials, {
    'grpc.max_send_message_length': -1,
  });
}

const bytes = (value: Buffer): Buffer => value;

function metadata(headers: Readonly<Record<string, string>>): grpc.Metadata {
  const result = new grpc.Metadata();
  for (const [name, value] of Object.entries(headers)) result.set(name, value);
  return result;
}

function unary(
  client: grpc.Client,
  path: string,
  body: Buffer,
  headers: grpc.Metadata,
): Promise<grpc.ServiceError | Buffer> {
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 20_000 };
    client.makeUnaryRequest(path, bytes, bytes, body, headers, options, (error, response) =>
      resolve(error ?? response ?? Buffer.alloc(0)),
    );
  });
}

const codeOf = (result: grpc.ServiceError | Buffer): grpc.status | undefined =>
  Buffer.isBuffer(result) ? grpc.status.OK : result.code;

test('grpc-js: answers, and errors with their trailers however little of the request was read', async () => {
  await using served = await serveApi();
  const client = rawClient(served);
  try {
    const hello = '/modal.client.ModalClient/ClientHello';
    const good = metadata(served.credentials);
    assert.equal(codeOf(await unary(client, hello, Buffer.alloc(0), good)), grpc.status.OK);
    // Bigger than every buffer on the way, refused before it is read.
    const big = Buffer.alloc(8 << 20);
    assert.equal(codeOf(await unary(client, hello, big, metadata({}))), grpc.status.UNAUTHENTICATED);
    assert.equal(
      codeOf(await unary(client, '/modal.client.ModalClient/NoSuchRpc', big, good)),
      grpc.status.UNIMPLEMENTED,
    );
    assert.equal(
      codeOf(await unary(client, '/grpc.health.v1.Health/Check', big, good)),
      grpc.status.UNIMPLEMENTED,
    );
    // What the gRPC status table says of a message that cannot be parsed.
    assert.equal(codeOf(await unary(client, hello, Buffer.from([0xff]), good)), grpc.status.INTERNAL);
    assert.equal(
      codeOf(await unary(client, hello, Buffer.alloc(0), good)),
      grpc.status.OK,
      'the connection still works',
    );
  } finally {
    client.close();
  }
});

test('grpc-js: a client stream that is refused half-way gets its status, not a hang or a reset', async () => {
  await using served = await serveApi();
  const client = rawClient(served);
  try {
    const result = await new Promise<grpc.ServiceError | Buffer>((resolve) => {
      const call = client.makeClientStreamRequest(
        '/modal.task_command_router.TaskCommandRouter/TaskExecStdinWriteStream',
        bytes,
        bytes,
        metadata({ authorization: 'Bearer x' }),
        { deadline: Date.now() + 20_000 },
        (error, response) => resolve(error ?? response ?? Buffer.alloc(0)),
      );
      for (let index = 0; index < 64; index++) call.write(Buffer.alloc(256 << 10));
      call.end();
    });
    assert.equal(codeOf(result), grpc.status.UNAUTHENTICATED);
  } finally {
    client.close();
  }
});

test('grpc-js over TLS, verifying the certificate', async () => {
  await using served = await serveApi();
  const client = rawClient(served, grpc.credentials.createSsl(Buffer.from(served.certificate.cert)));
  try {
    const result = await unary(
      client,
      '/modal.client.ModalClient/ClientHello',
      Buffer.alloc(0),
      metadata(served.credentials),
    );
    assert.equal(codeOf(result), grpc.status.OK);
  } finally {
    client.close();
  }
});

test('calls that are cancelled by the thousand leave the connection and the log in order', async () => {
  await using served = await serveApi();
  const client = rawClient(served);
  try {
    const path = '/modal.client.ModalClient/SandboxWaitV2';
    const good = metadata(served.credentials);
    for (let round = 0; round < 10; round++) {
      const cancelled = Array.from(
        { length: 200 },
        () =>
          new Promise<void>((resolve) => {
            const call = client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), good, () => resolve());
            call.cancel();
          }),
      );
      await Promise.all(cancelled);
    }
    const hello = await unary(client, '/modal.client.ModalClient/ClientHello', Buffer.alloc(0), good);
    assert.equal(codeOf(hello), grpc.status.OK);
    assert.equal(served.log.filter(({ level }) => level === 'error').length, 0);
  } finally {
    client.close();
  }
});

const python =
  process.env.SKERRY_PYTHON ??
  fileURLToPath(new URL('../../../../.skerry/venv/modal-1.6.4/bin/python', import.meta.url));
const skip = existsSync(python) ? false : `no Python with modal at ${python}; name one by SKERRY_PYTHON`;

test('the Python client: wrong credentials are an AuthError at once, right ones work', { skip }, async () => {
  await using served = await serveApi();
  const hello = `
import modal
from modal.exception import AuthError
try:
    modal.Client.from_credentials("ID", "SECRET").hello()
    print("welcome")
except AuthError as error:
    print("AuthError", error)
`;
  const ask = async (secret: string) => {
    const env = {
      PATH: '/usr/bin:/bin',
      HOME: '/nonexistent',
      MODAL_SERVER_URL: `http://localhost:${served.port}`,
      MODAL_CONFIG_PATH: '/nonexistent/modal.toml',
    };
    const script = hello.replace('ID', served.token.tokenId).replace('SECRET', secret);
    return (await run([python, '-c', script], { env })).stdout;
  };
  assert.match(await ask(served.token.tokenSecret), /^welcome/);
  assert.match(await ask('as-wrong'), /^AuthError .*wrong/);
});
