/** The gRPC wire as no client library lets one see it: raw HTTP/2 frames. */
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { SandboxListRequestSchema, SandboxWaitRequestSchema } from '../gen/modal/sandboxes_pb.ts';
import { type ServedApi, serveApi } from '../testing/served-api.ts';

interface Reply {
  readonly status: string | undefined;
  readonly message: string;
  /** The message as it stands in the trailer. */
  readonly sent: string;
  readonly body: Buffer;
}

async function withSession(use: (call: Call, served: ServedApi) => Promise<void>): Promise<void> {
  await using served = await serveApi();
  const session = http2.connect(`http://127.0.0.1:${served.port}`);
  session.on('error', () => {});
  try {
    await use((...args) => callRaw(session, served, ...args), served);
  } finally {
    session.destroy();
  }
}

type Call = (
  rpc: string,
  body: readonly Uint8Array[],
  headers?: Readonly<Record<string, string>>,
) => Promise<Reply>;

function callRaw(
  session: http2.ClientHttp2Session,
  served: ServedApi,
  rpc: string,
  body: readonly Uint8Array[],
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/modal.client.ModalClient/${rpc}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...served.credentials,
      ...headers,
    });
    const chunks: Buffer[] = [];
    let last: http2.IncomingHttpHeaders = {};
    stream.on('response', (received) => {
      last = received;
    });
    stream.on('trailers', (received) => {
      last = received;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () =>
      resolve({
        status: last['grpc-status']?.toString(),
        sent: last['grpc-message']?.toString() ?? '',
        message: decodeURIComponent(last['grpc-message']?.toString() ?? ''),
        body: Buffer.concat(chunks),
      }),
    );
    stream.on('error', reject);
    for (const chunk of body) stream.write(chunk);
    stream.end();
  });
}

/** A message with its prefix; the length can be made to lie. */
function framed(message: Uint8Array, { flags = 0, length = message.length } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flags;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

const nothing = new Uint8Array();

test('a message may come in any pieces', () =>
  withSession(async (call) => {
    const whole = framed(nothing);
    const reply = await call(
      'WorkspaceNameLookup',
      [...whole].map((byte) => Uint8Array.of(byte)),
    );
    assert.equal(reply.status, '0');
    assert.equal(reply.body.readUInt32BE(1), reply.body.length - 5);
    assert.match(reply.body.toString(), /skerry/);
  }));

test('calls with no message, several, a compressed, a cut or an announced huge one are refused with a status', () =>
  withSession(async (call) => {
    const refused: [string, readonly Uint8Array[]][] = [
      ['12', []],
      ['12', [framed(nothing), framed(nothing)]],
      ['12', [framed(nothing, { flags: 1 })]],
      ['12', [framed(Buffer.from('abc'), { length: 9 })]],
      ['8', [framed(nothing, { length: 0xffff_ffff })]],
      // What follows is drained: the status would not arrive else.
      ['8', [framed(Buffer.alloc(16 << 20), { length: 0xffff_ffff })]],
      ['13', [framed(Buffer.from([0xff]))]],
    ];
    for (const [status, body] of refused) {
      assert.equal((await call('ClientHello', body)).status, status);
    }
    assert.equal((await call('ClientHello', [framed(nothing)], { 'grpc-timeout': 'soon' })).status, '3');
    assert.equal((await call('ClientHello', [framed(nothing)])).status, '0');
  }));

test('a deadline on the wire ends the call with DEADLINE_EXCEEDED', () =>
  withSession(async (call, served) => {
    const sandbox = await served.domain.create();
    const request = create(SandboxWaitRequestSchema, { sandboxId: sandbox.id, timeout: 50 });
    const body = [framed(toBinary(SandboxWaitRequestSchema, request))];
    assert.equal((await call('SandboxWaitV2', body, { 'grpc-timeout': '20m' })).status, '4');
  }));

test('error messages survive the trip whatever characters they hold', () =>
  withSession(async (call) => {
    const request = create(SandboxListRequestSchema, { environmentName: 'größe %41\n' });
    const body = [framed(toBinary(SandboxListRequestSchema, request))];
    const reply = await call('SandboxList', body);
    assert.equal(reply.status, '5');
    assert.match(reply.message, /größe %41\n/);
    assert.match(reply.sent, /^Environment 'gr%C3%B6%C3%9Fe %2541%0A' not found\. Check the id or name; /);
    // Refusals go through Connect.
    const refused = await call('SandboxList', body, { 'x-modal-token-secret': 'as-wrong' });
    assert.equal(refused.status, '16');
    assert.doesNotMatch(refused.sent, /%/);
    assert.match(refused.sent, /`eval "\$\(skerry env\)"`/);
    // Clipping cuts this one between the halves of a surrogate pair.
    const cut = create(SandboxListRequestSchema, { environmentName: `${'x'.repeat(79)}😀😀` });
    const half = await call('SandboxList', [framed(toBinary(SandboxListRequestSchema, cut))]);
    assert.equal(half.status, '5');
    assert.match(half.message, /x\ufffd…' not found/);
  }));
