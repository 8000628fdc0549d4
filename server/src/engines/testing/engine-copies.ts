/** The part of the conformance suite about volumes that an instance has copies of, for engines that have them so. */
import assert from 'node:assert/strict';
import {
  chmod,
  lstat,
  lutimes,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { newVolumeMountId } from '../../ids.ts';
import { run } from '../../platform/command.ts';
import type { Instance, MountCopies } from '../engine.ts';
import { type EngineSuite, GROUP_TIMEOUT_MS, signal } from './engine-suite.ts';
import { shell } from './guest.ts';

const copiesOf = ({ copies }: Instance): MountCopies => {
  assert.ok(copies);
  return copies;
};

/** The cases, for `engineConformance`. */
export function engineCopies(suite: () => EngineSuite): void {
  const able = (t: TestContext) => {
    const { copiedVolumes } = suite().capabilities;
    if (!copiedVolumes) t.skip('has no copies of volumes');
    return copiedVolumes;
  };
  /** A working tree, where a path in it is, and how it is mounted. */
  const makeTree = async () => {
    const tree = newVolumeMountId();
    const at = (...path: readonly string[]) => join(suite().directory, tree, ...path);
    await mkdir(at());
    const mount = (target: string, { path = '', readOnly = false } = {}) => ({
      ...{ source: { kind: 'volume', tree, path } as const, target, readOnly },
    });
    return { tree, at, mount };
  };

  describe('copies of volumes', { timeout: GROUP_TIMEOUT_MS }, () => {
    it('have all that a tree has, and the tree all that programs did', async (t) => {
      if (!able(t)) return;
      const { tree, at, mount } = await makeTree();
      await mkdir(at('dir'), { mode: 0o700 });
      await writeFile(at('dir/program'), 'program');
      await run(['chown', '-R', '1000:1001', at('dir')]);
      await chmod(at('dir/program'), 0o4755);
      await lutimes(at('dir/program'), 981_173_106, 981_173_106.25);
      await symlink('/etc/passwd', at('link'));
      await run(['truncate', '--size', '1G', at('sparse')]);
      for (const name of ['kept', 'changed', 'gone', 'becomes-directory', 'odd \n name'])
        await writeFile(at(name), name);
      await mkdir(at('becomes-file/below'), { recursive: true });
      await chmod(at(), 0o1777);
      await suite().using({ mounts: [mount('/volume')] }, async (instance) => {
        const copies = copiesOf(instance);
        const seen = await shell(
          instance,
          "cd /volume; stat -c '%a %u %g %n' . dir dir/program; stat -c %y dir/program; cat dir/program; readlink link; stat -c '%s' sparse; cat kept 'odd \n name'",
        );
        assert.match(
          seen,
          /^1777 0 0 \.\n700 1000 1001 dir\n4755 1000 1001 dir\/program\n2001-02-03 04:05:06.250000000.*\nprogram\/etc\/passwd\n1073741824\nkeptodd \n name$/,
        );
        await copies.collect(tree, signal());
        const before = (await lstat(at('kept'))).ctimeMs;
        await shell(
          instance,
          `cd /volume; echo more >> changed; rm gone becomes-directory; mkdir becomes-directory; echo in > becomes-directory/in; rm -r becomes-file; echo file > becomes-file
mkdir -m 750 new; echo x > new/x; chown 7:8 new new/x; ln -s nowhere new/link; mv dir moved; mkfifo pipe; touch -d '2002-02-03 04:05:06' kept2; rm link; ln new/x other`,
        );
        await copies.collect(tree, signal());
        assert.deepEqual((await readdir(at())).sort(), [
          ...['becomes-directory', 'becomes-file', 'changed', 'kept', 'kept2', 'moved', 'new'],
          ...['odd \n name', 'other', 'sparse'],
        ]);
        assert.equal(await readFile(at('changed'), 'utf8'), 'changedmore\n');
        assert.equal(await readFile(at('becomes-directory/in'), 'utf8'), 'in\n');
        assert.equal(await readFile(at('becomes-file'), 'utf8'), 'file\n');
        assert.equal(await readFile(at('other'), 'utf8'), 'x\n');
        assert.equal(await readlink(at('new/link')), 'nowhere');
        const [made, moved] = [await lstat(at('new')), await lstat(at('moved/program'))];
        assert.deepEqual([made.mode & 0o7777, made.uid, made.gid], [0o750, 7, 8]);
        assert.deepEqual([moved.mode & 0o7777, moved.uid, moved.mtimeMs], [0o4755, 1000, 981_173_106_250]);
        assert.equal((await lstat(at('kept2'))).mtime.toISOString(), '2002-02-03T04:05:06.000Z');
        assert.equal((await lstat(at('kept'))).ctimeMs, before, 'what did not change was written');
      });
    });

    it('are one where a tree is mounted in several places, and cannot be written to where it is read-only', async (t) => {
      if (!able(t)) return;
      const { tree, at, mount } = await makeTree();
      await mkdir(at('sub'));
      await writeFile(at('sub/file'), 'below');
      const mounts = [
        mount('/all', { readOnly: true }),
        mount('/part/of', { path: 'sub' }),
        mount('/all-again'),
      ];
      await suite().using({ mounts }, async (instance) => {
        await assert.rejects(shell(instance, 'echo x > /all/x'), /Read-only/);
        await shell(instance, 'echo changed > /part/of/file; echo new > /all-again/sub/new');
        assert.equal(await shell(instance, 'cat /all/sub/file /all/sub/new'), 'changed\nnew');
        await copiesOf(instance).collect(tree, signal());
        assert.equal(await readFile(at('sub/file'), 'utf8'), 'changed\n');
        await writeFile(at('sub/new'), 'from outside\n');
        await copiesOf(instance).deliver(tree, signal());
        assert.equal(await shell(instance, 'cat /all/sub/new /part/of/new'), 'from outside\nfrom outside');
        const others = await shell(
          instance,
          'su -s /bin/sh nobody -c "ls /__modal/.volumes" 2>&1 || echo closed',
        );
        assert.match(others, /closed/);
      });
    });

    it('keep what programs did since they were last alike, whatever comes', async (t) => {
      if (!able(t)) return;
      const { tree, at, mount } = await makeTree();
      for (const name of ['both', 'theirs', 'removed']) await writeFile(at(name), 'old\n');
      await mkdir(at('dir'));
      await suite().using({ mounts: [mount('/volume')] }, async (instance) => {
        const copies = copiesOf(instance);
        await shell(
          instance,
          'cd /volume; echo own > both; echo own > removed; echo own > dir/own; echo own > new',
        );
        for (const name of ['both', 'theirs', 'new']) await writeFile(at(name), 'outside\n');
        await rm(at('removed'));
        await rm(at('dir'), { recursive: true });
        await copies.deliver(tree, signal());
        const seen = 'cd /volume; cat both theirs removed dir/own new';
        assert.equal(await shell(instance, seen), 'own\noutside\nown\nown\nown');
        await copies.collect(tree, signal());
        for (const name of ['both', 'removed', 'dir/own', 'new'])
          assert.equal(await readFile(at(name), 'utf8'), 'own\n', name);
        assert.equal(await readFile(at('theirs'), 'utf8'), 'outside\n');
      });
    });

    it('are there for the next server, and for the last time once an instance was stopped', async (t) => {
      if (!able(t)) return;
      const { tree, at, mount } = await makeTree();
      await writeFile(at('file'), 'old');
      const { id } = await suite().create({ mounts: [mount('/volume')] });
      await suite().harness.restart();
      const { instances } = await suite().harness.engine.adopt(new Set([id]));
      const instance = instances.get(id);
      assert.ok(instance);
      await copiesOf(instance).collect(tree, signal());
      await shell(instance, 'rm /volume/file; echo last > /volume/last');
      await instance.stop();
      await copiesOf(instance).collect(tree, signal());
      assert.deepEqual(await readdir(at()), ['last']);
      await suite().destroy(instance);
      await assert.rejects(copiesOf(instance).collect(tree, signal()), { code: 'sandbox-ended' });
    });
  });
}
