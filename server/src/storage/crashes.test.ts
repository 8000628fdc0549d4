/** A collection that is killed at each of its points: what was to stay is there whole, what was to go is there whole or not at all, and nothing of it is left behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ImageId, MountId } from '../ids.ts';
import { Domain } from '../sandboxes/testing/domain.ts';
import { CacheSetting } from './testing/cache-setting.ts';

const program = fileURLToPath(new URL('./testing/killed-collector.ts', import.meta.url));
const skip = process.getuid?.() === 0 ? false : 'layers are made by mounting';
const POINTS = ['after-images', 'after-mounts', 'after-hidden', 'after-files'];

for (const point of POINTS) {
  test(`killed ${point}`, { skip }, async (t) => {
    const root = mkdtempSync(join(tmpdir(), 'skerry-collected-'));
    t.after(() => rmSync(root, { recursive: true, force: true }));
    const child = spawn(process.execPath, [program, root, `storage.collect.${point}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [said, [code, signal]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    assert.deepEqual([code, signal], [null, 'SIGKILL'], said);
    const made: Record<string, string> = JSON.parse(said);
    const image = (name: string) => ({ id: made[name] as ImageId }); // the program has said so
    const domain = await Domain.over(root);
    t.after(() => domain[Symbol.asyncDispose]());
    const setting = new CacheSetting(domain, () => Date.now() + 1000);
    const there = () => ['unused', 'below', 'named', 'snapshot'].map((name) => setting.isThere(image(name)));
    assert.deepEqual(there(), [false, true, true, true]);
    setting.hasMount(made.mount as MountId); // whole, or not there
    await setting.collector.collect({ unusedForMs: 0 });
    assert.deepEqual(there(), [false, true, true, true]);
    assert.equal(setting.hasMount(made.mount as MountId), false);
    const kept = new Set(domain.store.images.allLayers());
    assert.deepEqual(new Set(readdirSync(join(domain.dataDir, 'images/layers'))), kept);
    assert.deepEqual(readdirSync(join(domain.dataDir, 'images/tmp')), []);
    const blobs = readdirSync(join(domain.dataDir, 'blobs'), { recursive: true, withFileTypes: true });
    assert.deepEqual(
      blobs.filter((entry) => entry.isFile()),
      [],
    );
  });
}
