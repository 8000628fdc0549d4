import assert from 'node:assert/strict';
import {
  chmod,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ProcessChannel } from './process-channel.ts';
import { AgentHarness } from './testing/agent-harness.ts';
import type { Collector } from './testing/collector.ts';

const root = process.getuid?.() === 0;

describe('the filesystem helper', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
    await chmod(agent.directory, 0o755);
  });
  after(() => agent[Symbol.asyncDispose]());

  let folders = 0;
  /** A directory of this test's own. */
  async function folder(): Promise<(name: string) => string> {
    folders += 1;
    const path = join(agent.directory, `f${folders}`);
    await mkdir(path);
    return (name) => join(path, name);
  }

  type More = { readonly input?: Uint8Array | string; readonly user?: string };
  const run = (command: string, args: object, more: More = {}) =>
    agent.exec([agent.fsTools, JSON.stringify({ [command]: args })], { env: {}, cwd: '/', ...more });

  async function ok(command: string, args: object, more: More = {}): Promise<string> {
    const result = await run(command, args, more);
    assert.deepEqual([result.exit?.value, result.stderr], [0, '']);
    return result.stdout;
  }

  async function fails(kind: string, command: string, args: object, more: More = {}): Promise<void> {
    const result = await run(command, args, more);
    assert.deepEqual([result.exit?.kind, result.exit?.value], ['code', 1], result.stderr);
    assert.equal(result.stdout, '');
    const error = JSON.parse(result.stderr);
    assert.equal(error.error_kind, kind, result.stderr);
    assert.ok(typeof error.message === 'string' && error.message.trim() !== '');
  }

  describe('WriteFile', () => {
    test('creates with parents, replaces, and writes nothing at all', async () => {
      const at = await folder();
      await ok('WriteFile', { path: at('a/b/c') }, { input: 'hello' });
      assert.equal(await readFile(at('a/b/c'), 'utf8'), 'hello');
      await chmod(at('a/b/c'), 0o640);
      await ok('WriteFile', { path: at('a/b/c'), later: 'field' }, { input: '' });
      const meta = await stat(at('a/b/c'));
      assert.deepEqual([meta.size, meta.mode & 0o777], [0, 0o644]);
      assert.deepEqual(await readdir(at('a/b')), ['c']);
    });

    test('shows nothing before the end of the content', async () => {
      const at = await folder();
      await writeFile(at('x'), 'old');
      const { process, sink } = await agent.start([
        agent.fsTools,
        JSON.stringify({ WriteFile: { path: at('x') } }),
      ]);
      await process.writeStdin(0, Buffer.alloc(1 << 20));
      assert.equal(await readFile(at('x'), 'utf8'), 'old');
      process.signal(9, 'process');
      await sink.finished();
      assert.equal(await readFile(at('x'), 'utf8'), 'old');
    });

    test('removes what it has so far when it is told that no more will come', async () => {
      const at = await folder();
      const { process, sink } = await agent.start([
        agent.fsTools,
        JSON.stringify({ WriteFile: { path: at('x') } }),
      ]);
      await process.writeStdin(0, Buffer.alloc(1 << 20));
      assert.equal((await readdir(at('.'))).length, 1);
      process.signal(15, 'process');
      await sink.finished();
      assert.deepEqual(await readdir(at('.')), []);
    });

    test('takes the name for a new file: links and other names keep what they have', async () => {
      const at = await folder();
      await writeFile(at('target'), 'old', { mode: 0o600 });
      await link(at('target'), at('other name'));
      await symlink('target', at('link'));
      await symlink('missing', at('dangling'));
      await symlink('loop', at('loop'));
      await mkdir(at('dir'));
      await symlink('dir', at('link to dir'));
      for (const name of ['link', 'dangling', 'loop', 'target', 'link to dir/file']) {
        await ok('WriteFile', { path: at(name) }, { input: `new ${name}` });
        const meta = await lstat(at(name));
        assert.deepEqual([meta.isFile(), meta.mode & 0o7777, meta.nlink], [true, 0o644, 1], name);
        assert.equal(await readFile(at(name), 'utf8'), `new ${name}`);
      }
      assert.equal(await readFile(at('other name'), 'utf8'), 'old');
      assert.equal(await readFile(at('dir/file'), 'utf8'), 'new link to dir/file');
      assert.equal((await readdir(at('.'))).includes('missing'), false);
      await fails('IsDirectory', 'WriteFile', { path: at('link to dir') }, { input: '' });
    });

    test('writes through when asked: the file, its mode and its names stay, links are followed', async () => {
      const at = await folder();
      await writeFile(at('target'), 'old and longer', { mode: 0o640 });
      await link(at('target'), at('other name'));
      await symlink('target', at('link'));
      await symlink('missing', at('dangling'));
      await symlink('loop', at('loop'));
      const before = await stat(at('target'));
      await ok('WriteFile', { path: at('link'), through: true }, { input: 'new' });
      await ok('WriteFile', { path: at('dangling'), through: true }, { input: 'there' });
      await ok('WriteFile', { path: at('made/with/parents'), through: true }, { input: 'x' });
      assert.ok((await lstat(at('link'))).isSymbolicLink());
      assert.equal(await readFile(at('other name'), 'utf8'), 'new');
      const after = await stat(at('target'));
      assert.deepEqual([after.ino, after.mode], [before.ino, before.mode]);
      assert.equal(await readFile(at('missing'), 'utf8'), 'there');
      await fails('InvalidPath', 'WriteFile', { path: at('loop'), through: true }, { input: '' });
      await fails('IsDirectory', 'WriteFile', { path: at('made'), through: true }, { input: '' });
    });

    test('fills devices', async () => {
      for (const through of [false, true]) {
        await ok('WriteFile', { path: '/dev/null', through }, { input: 'gone' });
        assert.ok((await stat('/dev/null')).isCharacterDevice());
      }
    });

    test('fails early with the kind the clients know', async () => {
      const at = await folder();
      await writeFile(at('file'), '');
      await mkdir(at('dir'));
      await fails('NotDirectory', 'WriteFile', { path: at('file/x') }, { input: 'x' });
      await fails('NotDirectory', 'WriteFile', { path: at('file/x/y') }, { input: 'x' });
      await fails('IsDirectory', 'WriteFile', { path: at('dir') }, { input: 'x' });
      await fails('IsDirectory', 'WriteFile', { path: at('new/') }, { input: 'x' });
      await fails('IsDirectory', 'WriteFile', { path: '/' }, { input: 'x' });
      await fails('InvalidPath', 'WriteFile', { path: at('n'.repeat(300)) }, { input: 'x' });
      const { sink } = await agent.start([agent.fsTools, JSON.stringify({ WriteFile: { path: at('dir') } })]);
      await sink.finished();
      assert.equal(sink.exitStatus?.value, 1, 'it does not wait for content it cannot use');
      assert.deepEqual((await readdir(at('.'))).sort(), ['dir', 'file']);
    });
  });

  test('ReadFile', async () => {
    const at = await folder();
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
    await writeFile(at('bytes'), content);
    await symlink('bytes', at('link'));
    await writeFile(at('empty'), '');
    await writeFile(at('huge'), '');
    await truncate(at('huge'), 3 * 2 ** 30);
    for (const name of ['bytes', 'link']) {
      const { sink } = await run('ReadFile', { path: at(name) });
      assert.ok(Buffer.concat(sink.chunks.stdout).equals(content));
    }
    assert.equal(await ok('ReadFile', { path: at('empty') }), '');
    assert.match(await ok('ReadFile', { path: '/proc/self/status' }), /^Name:/);
    await fails('NotFound', 'ReadFile', { path: at('none') });
    await fails('NotDirectory', 'ReadFile', { path: at('empty/x') });
    await fails('IsDirectory', 'ReadFile', { path: at('.') });
    await fails('FileTooLarge', 'ReadFile', { path: at('huge') });
    await fails('FileTooLarge', 'ReadFile', { path: at('bytes'), max_bytes: content.length - 1 });
    await ok('ReadFile', { path: at('empty'), max_bytes: 0 });
    await fails('InvalidRequest', 'ReadFile', { path: at('bytes'), max_bytes: -1 });
  });

  test('Stat describes links themselves', async () => {
    const at = await folder();
    await writeFile(at('file'), 'abc', { mode: 0o600 });
    await symlink('no where', at('link'));
    const meta = await stat(at('file'));
    const entry = JSON.parse(await ok('Stat', { path: at('file') }));
    assert.ok(Math.abs(entry.modified_time - meta.mtimeMs / 1000) < 0.01);
    const owner = root ? { owner: 'root', group: 'root' } : { owner: entry.owner, group: entry.group };
    assert.deepEqual(entry, {
      name: 'file',
      path: at('file'),
      type: 'file',
      size: 3,
      mode: 0o600,
      permissions: '0600',
      ...owner,
      modified_time: entry.modified_time,
      symlink_target: null,
    });
    const link = JSON.parse(await ok('Stat', { path: at('link') }));
    assert.deepEqual([link.type, link.symlink_target], ['symlink', 'no where']);
    const device = JSON.parse(await ok('Stat', { path: '/dev/null' }));
    assert.equal(device.type, 'file');
    assert.deepEqual(JSON.parse(await ok('Stat', { path: '/' })).name, '/');
    await fails('NotFound', 'Stat', { path: at('none') });
    await fails('NotDirectory', 'Stat', { path: at('file/x') });
  });

  test('ListFiles gives direct children by name, whatever they are called', async () => {
    const at = await folder();
    const names = ['a', 'B', 'é', ' spaced ', '"quoted"', 'new\nline', '-dash', '日本', '.hidden'];
    for (const name of names) await writeFile(at(name), name);
    await mkdir(at('dir/below'), { recursive: true });
    await symlink('a', at('link'));
    const entries = JSON.parse(await ok('ListFiles', { path: at('.') }));
    const byBytes = [...names, 'dir', 'link'].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    assert.deepEqual(
      entries.map((entry: { name: string }) => entry.name),
      byBytes,
    );
    assert.equal(entries.find((entry: { name: string }) => entry.name === 'dir').type, 'directory');
    assert.equal(await ok('ListFiles', { path: at('dir/below') }), '[]\n');
    await fails('NotFound', 'ListFiles', { path: at('none') });
    await fails('NotDirectory', 'ListFiles', { path: at('a') });
    await fails('NotDirectory', 'ListFiles', { path: at('a/x') });
  });

  test('MakeDirectory', async () => {
    const at = await folder();
    await writeFile(at('file'), '');
    await ok('MakeDirectory', { path: at('a'), parents: false });
    await ok('MakeDirectory', { path: at('b/c/d'), parents: true });
    await ok('MakeDirectory', { path: at('b/c/d'), parents: true });
    assert.ok((await stat(at('b/c/d'))).isDirectory());
    await fails('PathAlreadyExists', 'MakeDirectory', { path: at('a'), parents: false });
    await fails('NotFound', 'MakeDirectory', { path: at('x/y'), parents: false });
    await fails('NotDirectory', 'MakeDirectory', { path: at('file/x'), parents: false });
    await fails('NotDirectory', 'MakeDirectory', { path: at('file/x'), parents: true });
    await fails('NotDirectory', 'MakeDirectory', { path: at('file/x/y'), parents: true });
    await fails('PathAlreadyExists', 'MakeDirectory', { path: at('file'), parents: true });
    await fails('PathAlreadyExists', 'MakeDirectory', { path: at('file'), parents: false });
  });

  test('Remove takes files, links themselves, and whole trees when asked', async () => {
    const at = await folder();
    await writeFile(at('file'), '');
    await mkdir(at('kept/inside'), { recursive: true });
    await symlink('kept', at('link'));
    await mkdir(at('tree/x/y'), { recursive: true });
    await symlink('../../kept', at('tree/x/link'));
    await writeFile(at('tree/x/file'), '');
    await mkdir(at('empty'));
    await fails('DirectoryNotEmpty', 'Remove', { path: at('tree'), recursive: false });
    await ok('Remove', { path: at('file'), recursive: true });
    await ok('Remove', { path: at('link'), recursive: true });
    await ok('Remove', { path: at('tree'), recursive: true });
    await ok('Remove', { path: at('empty') });
    assert.deepEqual(await readdir(at('.')), ['kept']);
    assert.deepEqual(await readdir(at('kept')), ['inside']);
    await fails('NotFound', 'Remove', { path: at('file'), recursive: true });
  });

  test('Remove takes trees of any depth', async () => {
    const at = await folder();
    await ok('MakeDirectory', { path: at('top') });
    // Deeper than any path or descriptor table: made from the inside.
    const dig =
      'i=0; while [ $i -lt 3000 ]; do mkdir dddddddddd && cd -P dddddddddd || exit 1; i=$((i+1)); done';
    const made = await agent
      .exec(['python3', '-c', 'import os\nfor i in range(3000):\n os.mkdir("d"*10); os.chdir("d"*10)'], {
        cwd: at('top'),
      })
      .catch(() => agent.exec(['sh', '-c', dig], { cwd: at('top') }));
    assert.equal(made.exit?.value, 0, made.stderr);
    await ok('Remove', { path: at('top'), recursive: true });
    assert.deepEqual(await readdir(at('.')), []);
  });

  test('permission is told apart', { skip: !root && 'needs root' }, async () => {
    const at = await folder();
    await mkdir(at('closed'), { mode: 0o700 });
    await writeFile(at('closed/file'), '', { mode: 0o600 });
    await writeFile(at('secret'), '', { mode: 0o600 });
    const user = '4242:4242';
    await fails('PermissionDenied', 'ReadFile', { path: at('secret') }, { user });
    await fails('PermissionDenied', 'WriteFile', { path: at('secret') }, { user, input: 'x' });
    await fails('PermissionDenied', 'WriteFile', { path: at('new') }, { user, input: 'x' });
    await fails('PermissionDenied', 'ListFiles', { path: at('closed') }, { user });
    await fails('PermissionDenied', 'Stat', { path: at('closed/file') }, { user });
    await fails('PermissionDenied', 'MakeDirectory', { path: at('new'), parents: true }, { user });
    await fails('PermissionDenied', 'Remove', { path: at('secret') }, { user });
    await fails('PermissionDenied', 'Watch', { path: at('closed/file') }, { user, input: '' });
  });

  test('nonsense is an error, never a crash', async () => {
    const paths = ['relative', '', 'a\0b', '/a\0b'];
    for (const command of [
      'ReadFile',
      'WriteFile',
      'ListFiles',
      'Stat',
      'MakeDirectory',
      'Remove',
      'Watch',
    ]) {
      for (const path of paths) await fails('InvalidPath', command, { path }, { input: '' });
      await fails('InvalidPath', command, { path: 7 }, { input: '' });
      // Longer than any path may be; Watch resolves links first and stops at the first part that is missing.
      const kind = command === 'Watch' ? 'NotFound' : 'InvalidPath';
      await fails(kind, command, { path: `/${'x/'.repeat(3000)}` }, { input: '' });
    }
    await fails('InvalidRequest', 'Unknown', { path: '/' });
    await fails('InvalidRequest', 'Remove', { path: '/nowhere', recursive: 'yes' });
    for (const argument of [
      '',
      '{}',
      '[]',
      'x',
      '['.repeat(10_000),
      '{"Stat":{"path":"/"},"ReadFile":{"path":"/"}}',
    ]) {
      const { exit, stderr } = await agent.exec([agent.fsTools, argument]);
      assert.equal(exit?.value, 1);
      assert.equal(JSON.parse(stderr).error_kind, 'InvalidRequest');
    }
    assert.equal((await agent.exec([agent.fsTools])).exit?.value, 1);
  });

  describe('Watch', () => {
    interface Change {
      readonly event_type: string;
      readonly paths: readonly string[];
    }

    const changes = (sink: Collector): Change[] =>
      sink
        .text('stdout')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));

    /** Starts watching and waits until it does: a canary's event is the only sign. */
    async function watching(path: string, args: object, canary: string) {
      const command = JSON.stringify({
        Watch: { path, recursive: false, filter: null, timeout_secs: null, ...args },
      });
      const { process, sink } = await agent.start([agent.fsTools, command]);
      while (sink.lengths.stdout === 0 && sink.exitStatus === undefined) {
        await writeFile(canary, 'x');
        await rm(canary, { force: true });
        await agent.client.stats(agent.deadline());
      }
      const expected = (event_type: string, ...paths: string[]) =>
        sink.until(`${event_type} ${paths}`, () =>
          changes(sink).some((it) => it.event_type === event_type && String(it.paths) === String(paths)),
        );
      return { process, sink, expected };
    }

    async function stop(process: ProcessChannel, sink: Collector): Promise<void> {
      await process.closeStdin();
      await sink.finished();
      assert.deepEqual([sink.exitStatus?.value, sink.text('stderr')], [0, '']);
    }

    test('tells what happens to direct entries, until stdin ends', async () => {
      const at = await folder();
      await mkdir(at('dir'));
      const { process, sink, expected } = await watching(at('.'), {}, at('canary'));
      await writeFile(at('one'), 'text');
      await expected('Create', at('one'));
      await expected('Modify', at('one'));
      await readFile(at('one'));
      await expected('Access', at('one'));
      await rename(at('one'), at('two'));
      await expected('Rename', at('one'), at('two'));
      await writeFile(at('dir/below'), '');
      await rename(at('two'), at('dir/two'));
      await expected('RenameFrom', at('two'));
      await rename(at('dir/two'), at('back'));
      await expected('RenameTo', at('back'));
      await rm(at('back'));
      await expected('Remove', at('back'));
      await stop(process, sink);
      assert.ok(!changes(sink).some((it) => it.paths.includes(at('dir/below'))));
    });

    test('recursively, also in directories that come, go and move', async () => {
      const at = await folder();
      await mkdir(at('old/deep'), { recursive: true });
      const outside = await folder();
      await mkdir(outside('in/side'), { recursive: true });
      const { process, sink, expected } = await watching(at('.'), { recursive: true }, at('canary'));
      await writeFile(at('old/deep/x'), '');
      await expected('Create', at('old/deep/x'));
      await mkdir(at('n/e/w'), { recursive: true });
      await writeFile(at('n/e/w/file'), '');
      await expected('Create', at('n/e/w/file'));
      await rename(at('old'), at('new'));
      await expected('Rename', at('old'), at('new'));
      await writeFile(at('new/deep/y'), '');
      await expected('Create', at('new/deep/y'));
      await rename(at('new'), outside('gone'));
      await expected('RenameFrom', at('new'));
      await writeFile(outside('gone/deep/z'), '');
      await rename(outside('in'), at('in'));
      await expected('RenameTo', at('in'));
      // The watch in a directory that was moved in is set after its event is told.
      while (!changes(sink).some((it) => it.paths.includes(at('in/side/z'))))
        await writeFile(at('in/side/z'), '');
      await rm(at('n'), { recursive: true });
      await expected('Remove', at('n'));
      await stop(process, sink);
      assert.ok(!changes(sink).some((it) => it.paths.some((path) => path.endsWith('deep/z'))));
    });

    test('a file, and a link by the name of its target', async () => {
      const at = await folder();
      await writeFile(at('file'), '');
      await symlink('file', at('link'));
      const { process, sink } = await agent.start([
        agent.fsTools,
        JSON.stringify({ Watch: { path: at('link') } }),
      ]);
      while (sink.lengths.stdout === 0) {
        await writeFile(at('file'), 'more');
        await agent.client.stats(agent.deadline());
      }
      assert.deepEqual(changes(sink)[0], { event_type: 'Modify', paths: [at('file')] });
      await stop(process, sink);
    });

    test('only what the filter names; nothing for an empty one', async () => {
      const at = await folder();
      const { process, sink, expected } = await watching(at('.'), { filter: ['Remove'] }, at('canary'));
      await writeFile(at('x'), '');
      await rm(at('x'));
      await expected('Remove', at('x'));
      await stop(process, sink);
      assert.deepEqual(new Set(changes(sink).map((it) => it.event_type)), new Set(['Remove']));
      assert.equal(await ok('Watch', { path: at('.'), filter: [], timeout_secs: 1 }, {}), '');
    });

    test('ends when the time is up, at once for 0', async () => {
      const at = await folder();
      for (const timeout_secs of [0, 1]) {
        const { sink } = await agent.start([
          agent.fsTools,
          JSON.stringify({ Watch: { path: at('.'), timeout_secs } }),
        ]);
        await sink.finished();
        assert.deepEqual([sink.exitStatus?.value, sink.text('stderr')], [0, '']);
      }
      await fails('NotFound', 'Watch', { path: at('none'), timeout_secs: 0 });
      await fails('InvalidRequest', 'Watch', { path: at('.'), timeout_secs: -1 });
      await fails('InvalidRequest', 'Watch', { path: at('.'), filter: [1] });
    });
  });
});
