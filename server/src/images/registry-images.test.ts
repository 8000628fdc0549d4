import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { newLayerId } from '../ids.ts';
import { MachineRoom } from '../platform/machine-room.ts';
import { createLogger } from '../telemetry/logger.ts';
import { startRegistry, type TestRegistry } from './bases/testing-registry.ts';
import { RegistryImages } from './registry-images.ts';

describe('layers in a registry', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  let directory: string;
  let registry: TestRegistry;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-registry-'));
    registry = await startRegistry([], {});
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const layer = async (name: string = newLayerId()) => {
    const path = join(directory, name);
    await mkdir(path);
    await writeFile(join(path, 'file'), name);
    return path;
  };
  /** As a server that was started again. */
  const open = (temporary = 'tmp') =>
    new RegistryImages({
      ...{ repository: `${registry.host}/team/app`, insecure: [registry.host], timeoutMs: 30_000 },
      ...{ authFile: '', directory: join(directory, temporary), sentFile: join(directory, 'sent.json') },
      ...{ room: new MachineRoom(directory), logger: createLogger('silent') },
    });
  /** @returns how many blobs were sent: layers, and a configuration */
  const sent = async (tag: string, layers: readonly string[], images = open()): Promise<number> => {
    const from = registry.requests.length;
    await images.provide(tag, layers, AbortSignal.timeout(60_000));
    return registry.requests.slice(from).filter((request) => /^PUT .*\/blobs\//.test(request)).length;
  };

  it('are packed and sent once, also after a restart, and again when the registry lost them', async () => {
    const [skeleton, first, second] = [await layer('skeleton'), await layer(), await layer()];
    assert.equal(await sent('one', [skeleton, first]), 3);
    // It would be noticed: what never changes is not looked at again.
    await writeFile(join(first, 'file'), 'another');
    await writeFile(join(skeleton, 'file'), 'of another version');
    assert.equal(await sent('two', [skeleton, first, second]), 3, 'the skeleton, the second layer');
    assert.equal(await sent('two', [skeleton, first, second]), 0);
    registry.forget();
    assert.equal(await sent('three', [skeleton, first, second]), 4);
    await rm(second, { recursive: true });
    assert.equal(await sent('four', [skeleton, first]), 1);
    const kept: unknown = JSON.parse(await readFile(join(directory, 'sent.json'), 'utf8'));
    assert.deepEqual(Object.keys(kept ?? {}), [first], 'what is gone is forgotten');
  });

  it('are packed and sent once by several servers, whoever did it', async () => {
    const [first, second, third] = [await layer(), await layer(), await layer()];
    const [one, other] = [open('tmp-one'), open('tmp-other')];
    assert.equal(await sent('of-one', [first], one), 2);
    assert.equal(await sent('of-other', [first, second], other), 2, 'the second layer');
    await Promise.all([sent('both-one', [first, third], one), sent('both-other', [second, third], other)]);
    assert.equal(await sent('of-one-again', [third, second, first], one), 1);
    const kept: unknown = JSON.parse(await readFile(join(directory, 'sent.json'), 'utf8'));
    for (const each of [first, second, third]) assert.ok(each in Object(kept), each);
  });

  it('are sent as if nothing were known when what is written down is damaged', async () => {
    const path = await layer();
    await writeFile(join(directory, 'sent.json'), '{"half');
    assert.equal(await sent('five', [path]), 2);
  });
});
