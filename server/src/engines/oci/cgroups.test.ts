import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Cgroups } from './cgroups.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry-cgroups-'));
after(() => rm(scratch, { recursive: true, force: true }));

/** A directory that looks like a cgroup mount: files as the kernel writes them. */
async function tree(name: string, files: Record<string, string>): Promise<string> {
  const root = join(scratch, name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

describe('Cgroups, version 2', () => {
  it('makes a group with limits, which the groups above it hand down', async () => {
    const root = await tree('v2-limited', {
      'cgroup.controllers': 'cpuset cpu io memory pids\n',
      'cgroup.procs': '',
      'cgroup.subtree_control': 'cpu memory pids\n',
      'skerry-x/cgroup.subtree_control': '',
    });
    const cgroups = await Cgroups.detect(root);
    const files = await cgroups.makeLimited('skerry-x/in-1.buckets', { memoryMiB: 2, pids: 5 });
    const text = (path: string) => readFile(join(root, path), 'utf8');
    assert.deepEqual(files, [join(root, 'skerry-x/in-1.buckets/cgroup.procs')]);
    assert.equal(await text('cgroup.subtree_control'), 'cpu memory pids\n');
    assert.equal(await text('skerry-x/cgroup.subtree_control'), '+memory +pids');
    assert.equal(await text('skerry-x/in-1.buckets/memory.max'), '2097152');
    assert.equal(await text('skerry-x/in-1.buckets/pids.max'), '5');
  });

  it('bounds the processes of all groups below one', async () => {
    const root = await tree('v2-bounded', {
      'cgroup.controllers': 'cpuset cpu io memory pids\n',
      'cgroup.subtree_control': 'cpu memory pids\n',
    });
    const cgroups = await Cgroups.detect(root);
    await cgroups.boundProcesses('/skerry-x', 5);
    assert.equal(await readFile(join(root, 'skerry-x/pids.max'), 'utf8'), '5');
  });

  it('reads limits and use', async () => {
    const root = await tree('v2', {
      'cgroup.controllers': 'cpuset cpu io memory pids\n',
      'cgroup.procs': '',
      'skerry-x/ta-1/cgroup.procs': '',
      'skerry-x/ta-1/memory.current': '4096\n',
      'skerry-x/ta-1/memory.events': 'low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n',
      'skerry-x/ta-1/cpu.stat': 'usage_usec 1500\nuser_usec 1000\n',
      'skerry-x/ta-1/pids.current': '7\n',
    });
    const cgroups = await Cgroups.detect(root);
    assert.equal(cgroups.version, 2);
    assert.deepEqual(await cgroups.missingControllers(), []);
    assert.deepEqual(await cgroups.stats('/skerry-x/ta-1'), {
      memoryBytes: 4096,
      cpuUsageNs: 1_500_000,
      pids: 7,
      oomKills: 1,
    });
    assert.deepEqual([...(await cgroups.children('/skerry-x'))], ['ta-1']);
    await cgroups.kill('/skerry-x/ta-1');
  });

  it('bounds the memory of a group anew', async () => {
    const root = await tree('v2-memory', { 'cgroup.controllers': 'memory\n', 'skerry-x/memory.max': '1' });
    await (await Cgroups.detect(root)).boundMemory('/skerry-x', 4096);
    assert.equal(await readFile(join(root, 'skerry-x/memory.max'), 'utf8'), '4096');
  });

  it('names missing controllers', async () => {
    const cgroups = await Cgroups.detect(await tree('v2-bare', { 'cgroup.controllers': 'cpu\n' }));
    assert.deepEqual(await cgroups.missingControllers(), ['memory', 'pids']);
  });
});

describe('Cgroups, version 1', () => {
  it('reads each controller in its own tree, a hybrid v2 beside them not counting', async () => {
    const root = await tree('v1', {
      'memory/cgroup.procs': '',
      'cpu/cgroup.procs': '',
      'pids/cgroup.procs': '',
      'unified/cgroup.procs': '',
      'unified/cgroup.controllers': '',
      'memory/p/t/memory.usage_in_bytes': '8192\n',
      'memory/p/t/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
      'cpuacct/p/t/cpuacct.usage': '99\n',
      'pids/p/t/pids.current': '3\n',
    });
    const cgroups = await Cgroups.detect(root);
    assert.equal(cgroups.version, 1);
    assert.deepEqual(await cgroups.missingControllers(), []);
    assert.deepEqual(await cgroups.stats('/p/t'), {
      memoryBytes: 8192,
      cpuUsageNs: 99,
      pids: 3,
      oomKills: 2,
    });
  });

  it('bounds the memory of a group anew, with swap', async () => {
    const root = await tree('v1-memory', {
      'memory/cgroup.procs': '',
      'memory/memory.memsw.limit_in_bytes': '',
      'memory/p/memory.limit_in_bytes': '8192\n',
      'memory/p/memory.memsw.limit_in_bytes': '8192\n',
    });
    const cgroups = await Cgroups.detect(root);
    for (const bytes of [16_384, 4096]) {
      await cgroups.boundMemory('/p', bytes);
      for (const name of ['memory', 'memory.memsw'])
        assert.equal(await readFile(join(root, `memory/p/${name}.limit_in_bytes`), 'utf8'), String(bytes));
    }
  });

  it('takes a group that is gone for empty', async () => {
    const cgroups = await Cgroups.detect(await tree('v1-empty', { 'memory/cgroup.procs': '' }));
    await cgroups.kill('/gone');
    await cgroups.remove('/gone');
    assert.equal(await cgroups.oomKills('/gone'), 0);
  });
});
