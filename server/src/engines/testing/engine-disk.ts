/** The part of the conformance suite about instances whose files are bounded, for engines that say that they can do that. */
import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { EngineSuite } from './engine-suite.ts';
import { runInGuest, shell } from './guest.ts';
import { TestContent } from './test-content.ts';

const disk = { sizeMiB: 32, files: 512 };
/** Writes until there is no room; how much that was, MiB. */
const fill = (directory: string) =>
  `dd if=/dev/zero of=${directory}/filling bs=1M 2>/tmp/said; grep -q "No space left" /tmp/said || exit 1; echo $(($(stat -c %s ${directory}/filling) >> 20))`;
const makeFiles =
  'mkdir /many; i=0; while echo > /many/$i; do i=$((i+1)); [ $i -lt 2000 ] || exit 1; done 2>/dev/null; echo $i';

/** The cases, for `engineConformance`. */
export function engineDisk(suite: () => EngineSuite): void {
  const bounded = (t: TestContext) => {
    const able = suite().capabilities.disk;
    if (!able) t.skip('cannot bound the files of an instance');
    return able;
  };

  describe('a disk of its own', { timeout: 120_000 }, () => {
    it('has the room and takes the files that were asked for, and no more, until some are removed', async (t) => {
      if (!bounded(t)) return;
      await suite().using({ disk }, async (instance) => {
        for (let turn = 0; turn < 2; turn++) {
          const made = Number(await shell(instance, makeFiles));
          assert.ok(made > 0.8 * disk.files && made <= 1.1 * disk.files, `${made} files`);
          await shell(instance, 'rm -r /many');
          const size = Number(await shell(instance, fill('/root')));
          assert.ok(size >= 0.9 * disk.sizeMiB && size <= 1.1 * disk.sizeMiB, `${size} MiB`);
          await shell(instance, 'rm /root/filling');
        }
      });
    });

    it('is for all that it writes, also in what is mounted into it', async (t) => {
      if (!bounded(t)) return;
      await suite().using({ disk }, async (instance) => {
        await instance.mount('/mounted', [suite().layer]);
        await shell(instance, fill('/mounted'));
        for (const path of ['/tmp/file', '/mounted/file', '/etc/hosts']) {
          const { code } = await runInGuest(instance, ['sh', '-c', `head -c 4M /dev/zero >> ${path}`]);
          assert.notEqual(code, 0, path);
        }
      });
    });

    it('that is full becomes a layer, live and after its end', async (t) => {
      if (!bounded(t)) return;
      for (const move of [false, true]) {
        const target = TestContent.ref(`full-${move}`);
        await suite().using({ disk }, async (instance) => {
          await shell(instance, `echo kept > /root/kept; ${fill('/tmp')}`);
          if (move) await instance.stop();
          await instance.commit(target, { move });
        });
        const made = suite().content.layer(target);
        assert.equal(await readFile(join(made, 'root/kept'), 'utf8'), 'kept\n');
        await rm(made, { recursive: true });
      }
    });

    it('is as large after a restart, and goes with the instance', async (t) => {
      if (!bounded(t)) return;
      const { harness } = suite();
      const before = await harness.traces();
      const { id } = await suite().start(suite().spec({ disk }), AbortSignal.timeout(60_000));
      await harness.restart();
      const instance = (await harness.engine.adopt(new Set([id]))).instances.get(id);
      assert.ok(instance);
      const size = Number(await shell(instance, fill('/root')));
      assert.ok(size >= 0.9 * disk.sizeMiB && size <= 1.1 * disk.sizeMiB, `${size} MiB`);
      await harness.engine.destroy(id);
      assert.deepEqual(await harness.traces(), before);
    });
  });
}
