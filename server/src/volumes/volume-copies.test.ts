/** Working trees of sandboxes that are elsewhere, and have copies of them: here a directory is one. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { MountCopies } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { newTaskId, type TaskId } from '../ids.ts';
import { run } from '../platform/command.ts';
import { unmountBelow } from '../platform/mounts.ts';
import { delay } from '../platform/wait.ts';
import { VolumeSetting } from './testing/volume-setting.ts';

const asRoot = process.getuid?.() === 0 ? false : 'needs root';

describe('volumes that sandboxes have copies of', { skip: asRoot, timeout: 60_000 }, () => {
  let directory: string;
  let setting: VolumeSetting;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-copies-'));
  });
  beforeEach(() => {
    setting = new VolumeSetting(join(directory, newTaskId()));
  });
  afterEach(async () => {
    await setting.close();
    await unmountBelow(setting.root);
  });
  after(() => rm(directory, { recursive: true, force: true }));

  /** What an engine does, between the trees of a server and a directory. */
  class Copies implements MountCopies {
    readonly #at: string;
    failure: Error | undefined;
    /** It says nothing until whoever asked gives up. */
    isSilent = false;

    constructor(at: string) {
      this.#at = at;
    }

    async collect(tree: string, signal: AbortSignal): Promise<void> {
      if (this.failure) throw this.failure;
      if (this.isSilent) {
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      }
      const into = join(setting.root, 'v', tree);
      // What is as it was is nothing that it wrote.
      const { code } = await run(['diff', '-r', this.#at, into], { okCodes: [1] });
      if (code === 0) return;
      await run(['find', into, '-mindepth', '1', '-delete']);
      await run(['cp', '-a', `${this.#at}/.`, into]);
    }

    async deliver(tree: string): Promise<void> {
      await run(['find', this.#at, '-mindepth', '1', '-delete']);
      await run(['cp', '-a', `${join(setting.root, 'v', tree)}/.`, this.#at]);
    }
  }

  const attach = async (readOnly = false) => {
    const task = newTaskId();
    const [attached] = await setting.mounts.attach(task, [
      { volumeId: setting.volume, target: '/data', readOnly, subPath: '' },
    ]);
    assert.ok(attached);
    const at = join(setting.root, task);
    await mkdir(at);
    const copies = new Copies(at);
    await copies.deliver(attached.source.tree);
    await setting.mounts.follow(task, copies);
    return { task, copies, file: (name: string) => join(at, name) };
  };

  it('what is written there is a version for whoever looks, and comes to others that reload', async () => {
    const [one, other] = [await attach(), await attach()];
    await writeFile(one.file('file'), 'first');
    await setting.mounts.commit(setting.volume);
    assert.equal(await setting.text('file'), 'first');
    await writeFile(one.file('file'), 'second');
    await setting.mounts.reload(other.task);
    assert.equal(await readFile(other.file('file'), 'utf8'), 'second');
    await writeFile(other.file('other'), 'x');
    await rm(other.file('file'));
    const later = await attach();
    assert.equal(await readFile(later.file('other'), 'utf8'), 'x');
    await assert.rejects(readFile(later.file('file')), { code: 'ENOENT' });
  });

  it('nothing comes from one that has it read-only', async () => {
    const reader = await attach(true);
    await writeFile(reader.file('file'), 'x');
    await setting.mounts.commit(setting.volume);
    await setting.mounts.bringLast(reader.task);
    await setting.mounts.detach(reader.task, true);
    assert.deepEqual(await setting.paths(), []);
  });

  it('the last that it wrote comes before it goes, and nothing is asked of it afterwards', async () => {
    const { task, copies, file } = await attach();
    await writeFile(file('last'), 'x');
    await setting.mounts.bringLast(task);
    copies.failure = new Error('it was asked for more');
    await setting.mounts.detach(task, true);
    assert.deepEqual(await setting.paths(), ['last']);
  });

  it('one that is gone keeps nobody from what is there, another failure is told', async () => {
    const { task, copies, file } = await attach();
    await writeFile(file('file'), 'x');
    await setting.mounts.commit(setting.volume);
    copies.failure = new SkerryError('disk-full', 'no room');
    await assert.rejects(setting.mounts.commit(setting.volume), { code: 'disk-full' });
    await assert.rejects(setting.mounts.bringLast(task), { code: 'disk-full' });
    const other = await attach();
    copies.failure = new SkerryError('sandbox-ended', 'it is gone');
    await setting.mounts.commit(setting.volume);
    assert.equal(await readFile(other.file('file'), 'utf8'), 'x');
  });

  it('one that does not answer keeps nobody from the others, nor a server from its end', async () => {
    const [silent, other] = [await attach(), await attach()];
    silent.copies.isSilent = true;
    await mkdir(other.file('made')); // a file would be left alone for a while
    await setting.mounts.sweep();
    await setting.mounts.sweep();
    assert.deepEqual(await setting.paths(), ['made']);
    const last: Promise<unknown> = setting.mounts.bringLast(silent.task).then(() => 'brought');
    await setting.mounts.close();
    assert.equal(await Promise.race([last, delay(1).then(() => 'waits')]), 'waits');
  });

  it('the next server goes on, on a machine where no tree is seen, and finishes what was left', async () => {
    const { task, copies, file } = await attach();
    await writeFile(file('before'), 'x');
    await setting.mounts.commit(setting.volume);
    await setting.mounts.close();
    const last: Promise<unknown> = setting.mounts.bringLast(task).then(() => 'brought');
    assert.equal(
      await Promise.race([last, delay(1, AbortSignal.timeout(10_000)).then(() => 'waits')]),
      'waits',
    );
    const { root } = setting;
    await setting.close();
    await unmountBelow(root);
    setting = new VolumeSetting(root);
    const followed = setting.mounts.follow(task, copies);
    await setting.mounts.recover(new Set<TaskId>([task]));
    await writeFile(file('after'), 'y');
    await setting.mounts.commit(setting.volume);
    await followed;
    assert.deepEqual(await setting.paths(), ['after', 'before']);
  });
});
