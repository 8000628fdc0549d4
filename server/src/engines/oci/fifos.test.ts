import assert from 'node:assert/strict';
import { once } from 'node:events';
import { lstat, mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cleanup } from '../../platform/cleanup.ts';
import { LayerFifos, removeSockets, showFifos } from './fifos.ts';

const root = process.getuid?.() === 0;

describe('FIFOs and sockets of a tree', { skip: !root && 'needs root' }, () => {
  let tree: string;
  const at = (path: string) => join(tree, path);
  const fifo = (path: string) => ({
    path,
    mode: 0o622,
    uid: 5,
    gid: 6,
    mtime: '1234567890.123456789',
    directoryMtime: '1000000000.000000001',
  });

  before(async () => {
    tree = await mkdtemp(join(tmpdir(), 'skerry-fifos-'));
  });
  after(() => rm(tree, { recursive: true, force: true }));

  it('shows FIFOs as they are inside for as long as it takes, and the directory as it was', async () => {
    await mkdir(at('dir'));
    await utimes(at('dir'), 1, 900_000_000);
    const shown = new Cleanup();
    await showFifos(tree, [fifo('/dir/a b'), fifo('/top')], shown);
    const meta = await lstat(at('dir/a b'), { bigint: true });
    assert.ok(meta.isFIFO());
    assert.deepEqual([meta.mode & 0o7777n, meta.uid, meta.gid], [0o622n, 5n, 6n]);
    assert.equal(meta.mtimeNs, 1234567890123456789n);
    assert.equal((await stat(at('dir'), { bigint: true })).mtimeNs, 1000000000000000001n);
    assert.deepEqual([...(await new LayerFifos().in([tree]))].sort(), ['/dir/a b', '/top']);
    await shown.run();
    assert.deepEqual(await readdir(at('dir')), []);
    assert.equal((await stat(at('dir'))).mtimeMs, 900_000_000_000);
  });

  it('goes through nothing but directories of the tree, and over nothing', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'skerry-outside-'));
    try {
      await symlink(outside, at('link'));
      await writeFile(at('file'), 'kept');
      const paths = ['/link/x', '/../x', '/dir/../x', '/file/x', '/file', '/none/x', '//x', '/'];
      const shown = new Cleanup();
      await showFifos(tree, paths.map(fifo), shown);
      assert.deepEqual(await readdir(outside), []);
      assert.deepEqual((await readdir(tree)).sort(), ['dir', 'file', 'link']);
      await shown.run();
      assert.ok((await stat(at('file'))).isFile());
    } finally {
      await rm(outside, { recursive: true });
    }
  });

  it('removes sockets and keeps the times of their directories', async () => {
    const server = createServer().listen(at('dir/socket'));
    await once(server, 'listening');
    await utimes(at('dir'), 1, 900_000_000);
    await removeSockets(tree);
    assert.deepEqual(await readdir(at('dir')), []);
    assert.equal((await stat(at('dir'))).mtimeMs, 900_000_000_000);
    server.close();
  });
});
