/** What is fetched of a registry, and what is not, by skopeo. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, watch } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MachineRoom } from '../../platform/machine-room.ts';
import { parseReference } from './reference.ts';
import { Registry } from './registry.ts';
import { startRegistry } from './testing-registry.ts';

const layer = (text: string) => [{ name: 'f', text }];

async function makeWorkspace(t: TestContext): Promise<string> {
  const workspace = await mkdtemp(join(tmpdir(), 'skerry-registry-'));
  t.after(() => rm(workspace, { recursive: true, force: true }));
  return workspace;
}

function pull(host: string, workspace: string) {
  const registry = new Registry({
    ...{ mirrors: [], insecure: [host], allowed: [], maxImageBytes: 1 << 30, timeoutMs: 30_000 },
    ...{ room: new MachineRoom(workspace), clock: Date.now },
  });
  const signal = AbortSignal.timeout(120_000);
  return registry.pull(parseReference(`${host}/team/app:1`), undefined, workspace, signal);
}

test('an image in an index is the one for this machine', async (t) => {
  await using registry = await startRegistry([layer('a')], {}, undefined, { index: true });
  const result = await pull(registry.host, await makeWorkspace(t));
  assert.ok(result.kind === 'pulled');
  assert.deepEqual(
    result.image.layers.map(({ digest }) => digest),
    registry.layers,
  );
});

test('foreign layers are refused, and nobody is asked for them', async (t) => {
  await using elsewhere = await startRegistry([], {});
  const urls = [`http://${elsewhere.host}/layer`];
  const mediaType = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';
  const old = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
  for (const foreign of [{ urls }, { mediaType }, { mediaType: old, urls }]) {
    for (const index of [false, true]) {
      await using registry = await startRegistry([layer('a'), layer('b')], {}, undefined, { index, foreign });
      await assert.rejects(pull(registry.host, await makeWorkspace(t)), {
        code: 'image-build-failed',
        message: /^layer 2 of the image is a foreign one .*such layers are not fetched/,
      });
    }
  }
  assert.deepEqual(elsewhere.requests, []);
});

test('a connection that breaks within a layer is made again, and whole layers are not fetched twice', async (t) => {
  const workspace = await makeWorkspace(t);
  const arrived = join(workspace, 'oci/blobs/sha256');
  await mkdir(arrived, { recursive: true });
  const [large, ...small] = [1 << 20, 1000, 1000].map((size) => layer(randomBytes(size).toString('hex')));
  await using registry = await startRegistry([...small, large ?? []], {}, undefined, {
    breaks: { times: 2, before: () => whole(arrived, registry.layers.slice(0, 2)) },
  });
  const result = await pull(registry.host, workspace);
  assert.equal(result.kind, 'pulled');
  const asked = (digest: string) => registry.requests.filter((line) => line.endsWith(digest)).length;
  assert.deepEqual(registry.layers.map(asked), [1, 1, 3]);
});

test('one that breaks each time is a registry out of reach', async (t) => {
  await using registry = await startRegistry([layer(randomBytes(1 << 20).toString('hex'))], {}, undefined, {
    breaks: { times: 99, before: async () => {} },
  });
  const result = await pull(registry.host, await makeWorkspace(t));
  assert.ok(result.kind === 'failed' && !result.answered);
  assert.match(result.reasons.join(), /cannot be reached .*EOF/);
});

/** Resolves when the directory has these files. */
async function whole(directory: string, digests: readonly string[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => {
    if (digests.every((digest) => existsSync(join(directory, digest.slice('sha256:'.length))))) resolve();
  };
  const changes = watch(directory, look);
  look();
  await promise.finally(() => changes.close());
}
