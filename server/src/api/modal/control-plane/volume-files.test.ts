/** Files of volumes over the wire, where the clients that are installed for tests do not come: what only Python up to 0.77 calls. */
import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Code } from '@connectrpc/connect';
import { Domain } from '../../../sandboxes/testing/domain.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import { BLOCK_BYTES } from '../../../volumes/volumes.ts';
import { VolumeFsVersion } from '../gen/modal/volumes_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';
import { code } from '../testing/clients.ts';
import { inMemoryClient, pythonCall } from '../testing/in-memory.ts';
import { blobHandlers } from './blobs.ts';
import { mountHandlers } from './mounts.ts';
import { volumeFileHandlers, volumeRoute } from './volume-files.ts';
import { volumeHandlers } from './volumes.ts';

const logger = createLogger('silent');

async function setUp(t: TestContext) {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  const { apps, blobs, mounts, volumes, volumeFiles, volumeMounts } = domain;
  const route = volumeRoute({ volumeFiles, logger });
  const http = createServer((request, response) => void route.handle(request, response));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.after(() => http.close());
  const { port } = http.address() as AddressInfo; // a TCP server's address is an object
  const handlers = {
    ...blobHandlers({ blobs }),
    ...mountHandlers({ blobs, mounts, now: Date.now }),
    ...volumeHandlers({ apps, volumes, volumeMounts }),
    ...volumeFileHandlers({ volumeFiles, volumeMounts }),
  };
  const call = { ...pythonCall, authority: `127.0.0.1:${port}` };
  const client = inMemoryClient(handlers, domain.store.answers, call);
  const { volumeId } = await client.volumeGetOrCreate({
    deploymentName: 'old',
    objectCreationType: ObjectCreationType.CREATE_IF_MISSING,
    version: VolumeFsVersion.V1,
  });
  const put = async (filename: string, bytes: Buffer) => {
    const sha256Hex = hash('sha256', bytes, 'hex');
    await blobs.putBytes(sha256Hex, bytes);
    await client.volumePutFiles({ volumeId, files: [{ filename, sha256Hex }] });
  };
  return { client, volumeId, put };
}

test('VolumeGetFile gives a file of 8 MiB or a part of any as data, and more as a blob', async (t) => {
  const { client, volumeId, put } = await setUp(t);
  const bytes = randomBytes(BLOCK_BYTES + 3);
  await put('large', bytes);
  await put('small', bytes.subarray(0, 5));
  await put('empty', Buffer.alloc(0));
  const read = async (path: string, start = 0, len = 0) => {
    const { dataOneof, ...said } = await client.volumeGetFile({
      ...{ volumeId, path, start: BigInt(start), len: BigInt(len) },
    });
    assert.equal(Number(said.start), start);
    const { case: kind, value } = dataOneof;
    if (kind === 'data') return { kind, size: Number(said.size), bytes: Buffer.from(value) };
    assert.equal(kind, 'dataBlobId');
    const { downloadUrl } = await client.blobGet({ blobId: value ?? '' });
    const answer = await fetch(downloadUrl);
    return { kind, size: Number(said.size), bytes: Buffer.from(await answer.arrayBuffer()) };
  };
  assert.deepEqual(await read('small'), { kind: 'data', size: 5, bytes: bytes.subarray(0, 5) });
  assert.deepEqual(await read('small', 2, 2), { kind: 'data', size: 5, bytes: bytes.subarray(2, 4) });
  assert.deepEqual(await read('empty', 0, BLOCK_BYTES), { kind: 'data', size: 0, bytes: Buffer.alloc(0) });
  const { length: size } = bytes;
  const begin = await read('large', 0, BLOCK_BYTES);
  assert.ok(
    begin.kind === 'data' && begin.size === size && begin.bytes.equals(bytes.subarray(0, BLOCK_BYTES)),
  );
  assert.deepEqual(await read('large', BLOCK_BYTES, BLOCK_BYTES), {
    ...{ kind: 'data', size, bytes: bytes.subarray(BLOCK_BYTES) },
  });
  const whole = await read('large');
  assert.ok(whole.kind === 'dataBlobId' && whole.size === size && whole.bytes.equals(bytes));

  await assert.rejects(client.volumeGetFile({ volumeId, path: 'none' }), code(Code.NotFound));
  await assert.rejects(
    client.volumeGetFile({ volumeId, path: 'small', start: 6n }),
    code(Code.InvalidArgument, /only 5 bytes/),
  );
  const { downloadUrl } = await client.blobGet({ blobId: 'vp-../../etc/passwd.1.x' });
  assert.equal((await fetch(downloadUrl)).status, 403);
});
