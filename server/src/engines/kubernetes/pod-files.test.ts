/** Files of Pods as layers, beyond what the conformance suite holds every engine to: all kinds of files, and programs that go on meanwhile. */
import assert from 'node:assert/strict';
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { newVolumeMountId } from '../../ids.ts';
import { EngineSuite } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import { TestContent } from '../testing/test-content.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

describe('files of a Pod', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  let suite: EngineSuite;
  before(async () => {
    suite = await EngineSuite.open('runc', async (content) => (await openOnFakeCluster(content)).harness);
  });
  after(() => suite?.[Symbol.asyncDispose]());

  it('come with all that there is to them, and without what is none of theirs', async () => {
    const target = TestContent.ref('kinds');
    const made = (path: string) => join(suite.directory, target, path);
    await suite.using({}, async (instance) => {
      await shell(
        instance,
        `set -e
ln /data/lower.txt /data/other
touch -r /data/doomed.txt /tmp/time; printf 'DOOMED\\n' > /data/doomed.txt; touch -r /tmp/time /data/doomed.txt; rm /tmp/time
mkfifo -m 640 /data/pipe; echo program > /data/program; chown 1000:1001 /data/program; chmod 6755 /data/program
touch -d '2001-02-03 04:05:06' /data/program; ln -s /etc/passwd /data/link
truncate -s 1G /sparse; printf x | dd of=/sparse bs=1 seek=500000000 conv=notrunc 2>/dev/null
touch "$(printf '/data/\\377\\nx')"; mknod /data/device c 1 3; mkdir -m 1777 /data/open
rm -r /root; echo file > /root; rm /bin/vi; mkdir /bin/vi; echo x > /bin/vi/x; rm /bin/wc`,
      );
      await instance.commit(target, { move: false });
      assert.equal(await shell(instance, 'ps -o stat | grep -c ^T || true'), '0');
    });
    assert.deepEqual((await readdir(made(''))).sort(), ['bin', 'data', 'root', 'sparse', 'tmp']);
    assert.deepEqual((await readdir(made('data'), { encoding: 'latin1' })).sort(), [
      ...['doomed.txt', 'link', 'lower.txt', 'open', 'other', 'pipe', 'program', '\xff\nx'],
    ]);
    assert.deepEqual((await readdir(made('bin'))).sort(), ['vi', 'wc']);
    assert.equal((await stat(made('data/other'))).ino, (await stat(made('data/lower.txt'))).ino);
    assert.equal(await readFile(made('data/doomed.txt'), 'utf8'), 'DOOMED\n');
    const program = await stat(made('data/program'));
    assert.deepEqual(
      [program.mode & 0o7777, program.uid, program.gid, program.mtime.toISOString()],
      [0o6755, 1000, 1001, '2001-02-03T04:05:06.000Z'],
    );
    const pipe = await lstat(made('data/pipe'));
    assert.ok(pipe.isFIFO() && (pipe.mode & 0o7777) === 0o640);
    assert.equal(await readlink(made('data/link')), '/etc/passwd');
    assert.equal((await stat(made('data/open'))).mode & 0o7777, 0o1777);
    const sparse = await stat(made('sparse'));
    assert.ok(sparse.size === 2 ** 30 && sparse.blocks * 512 < 2 ** 20);
    assert.equal(await readFile(made('root'), 'utf8'), 'file\n');
    const gone = await lstat(made('bin/wc'));
    assert.ok(gone.isCharacterDevice() && gone.rdev === 0);
    await suite.using({ layers: [suite.layer, target] }, async (instance) =>
      assert.equal(
        await shell(
          instance,
          'cat /root /bin/vi/x; test -e /bin/wc || echo gone; tail -c +500000001 /sparse | head -c 1',
        ),
        'file\nx\ngone\nx',
      ),
    );
    await rm(made(''), { recursive: true });
  });

  it('have an empty directory where a volume was mounted', async () => {
    const target = TestContent.ref('mounted');
    const tree = newVolumeMountId();
    await mkdir(join(suite.directory, tree));
    await writeFile(join(suite.directory, tree, 'file'), 'of the volume');
    const mounts = [
      { source: { kind: 'volume', tree, path: '' }, target: '/made/volume', readOnly: false },
      { source: { kind: 'volume', tree, path: '' }, target: '/data', readOnly: true },
    ] as const;
    await suite.using({ mounts }, (instance) => instance.commit(target, { move: false }));
    const found = await readdir(join(suite.directory, target), { recursive: true });
    assert.deepEqual(found.sort(), ['made', 'made/volume']);
    await rm(join(suite.directory, target), { recursive: true });
  });

  it('are of one moment, for which programs stand still; then they go on', async () => {
    const target = TestContent.ref('moment');
    await suite.using({}, async (instance) => {
      await shell(
        instance,
        `head -c 20000000 /dev/urandom > /bulk
(n=0; while :; do n=$((n+1)); echo $n > /new; mv /new /first; echo $n > /new2; mv /new2 /second; done) >/dev/null 2>&1 &
until test -s /second; do sleep 0.1; done`,
      );
      await instance.commit(target, { move: false });
      const of = async (name: string) => Number(await readFile(join(suite.directory, target, name), 'utf8'));
      const [first, second] = [await of('first'), await of('second')];
      assert.ok(first === second || first === second + 1, `${first} and ${second} are not of one moment`);
      assert.equal((await stat(join(suite.directory, target, 'bulk'))).size, 20_000_000);
      await shell(instance, `until test "$(cat /second)" -gt ${second + 1}; do sleep 0.1; done`);
    });
    await rm(join(suite.directory, target), { recursive: true });
  });
});
