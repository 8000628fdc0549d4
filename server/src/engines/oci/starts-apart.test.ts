import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { run } from '../../platform/command.ts';
import { makePrivateMount, mountsBelow, removePrivateMount, unmountBelow } from '../../platform/mounts.ts';
import { Layout } from './layout.ts';
import { StartsApart } from './starts-apart.ts';

const treesBinary = treesBinaryPath();
const skip =
  process.getuid?.() === 0 && existsSync(treesBinary) ? false : 'needs root and the program for trees';

describe('starts apart from what other sandboxes have mounted', { skip }, () => {
  let scratch: string;
  let layout: Layout;
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'skerry-apart-'));
  });
  after(() => rm(scratch, { recursive: true, force: true }));
  beforeEach(async () => {
    layout = new Layout(await mkdtemp(join(scratch, 'data-')), await mkdtemp(join(scratch, 'r-')));
    await makePrivateMount(layout.runDir);
    for (const path of [layout.bundlesDir, layout.diskMountsDir, layout.instancesDir]) await mkdir(path);
  });
  afterEach(async () => {
    await unmountBelow(layout.runDir);
    await removePrivateMount(layout.runDir);
  });

  const opened = async (): Promise<StartsApart> => {
    const apart = await StartsApart.open(treesBinary, layout);
    assert.ok(apart instanceof StartsApart, JSON.stringify(apart));
    return apart;
  };
  /** What is mounted below the run directory where a command is started that needs these. */
  const seen = async (apart: StartsApart, needs: readonly string[]): Promise<string[]> => {
    const command = await apart.command(['cat', '/proc/self/mountinfo'], needs);
    const { stdout } = await run(command);
    const paths = stdout.split('\n').map((line) => line.split(' ')[4] ?? '');
    return paths.filter((path) => path.startsWith(`${layout.runDir}/`)).toSorted();
  };
  const mounted = async (path: string): Promise<string> => {
    await mkdir(path, { recursive: true });
    await run(['mount', '-t', 'tmpfs', 'tmpfs', path]);
    return path;
  };

  it('leaves it to whoever starts a program to say that it is missing', async () => {
    const apart = await opened();
    for (const program of ['no-such-program', '/no/such/program'])
      await assert.rejects(run(await apart.command([program, 'run'], [])), /is not installed/);
  });

  it('has what is needed, and all that is mounted in it', async () => {
    const before = await mounted(join(layout.diskMountsDir, 'before'));
    const apart = await opened();
    const bundle = join(layout.bundlesDir, 'a');
    const rootfs = await mounted(join(bundle, 'rootfs'));
    const inside = await mounted(join(rootfs, 'inside'));
    const disk = await mounted(join(layout.diskMountsDir, 'a'));
    await mkdir(join(disk, 'etc'));
    await symlink(disk, join(layout.instancesDir, 'a'));
    await mounted(join(layout.bundlesDir, 'b', 'rootfs'));
    assert.deepEqual(await seen(apart, []), []);
    const needs = [bundle, rootfs, join(layout.instancesDir, 'a', 'etc'), '/etc/hosts', join(bundle, 'none')];
    assert.deepEqual(await seen(apart, needs), [bundle, disk, inside, rootfs].toSorted());
    assert.deepEqual(await seen(apart, [before]), [before]);
  });

  it('shows files that are there, and changes nothing on the machine', async () => {
    const apart = await opened();
    const bundle = join(layout.bundlesDir, 'a');
    await mkdir(bundle);
    await writeFile(join(bundle, 'config.json'), 'text');
    const there = await mountsBelow(layout.runDir);
    const { stdout } = await run(await apart.command(['cat', join(bundle, 'config.json')], [bundle]));
    assert.equal(stdout, 'text');
    await run(await apart.command(['mount', '-t', 'tmpfs', 'tmpfs', bundle], [bundle]));
    assert.deepEqual(await mountsBelow(layout.runDir), there);
    assert.deepEqual(there, [layout.startsNamespace]);
  });

  it('gives the status of the command', async () => {
    const apart = await opened();
    const { code } = await run(await apart.command(['sh', '-c', 'exit 7'], []), { okCodes: [7] });
    assert.equal(code, 7);
  });

  it('is made anew by the next server', async () => {
    await opened();
    assert.deepEqual(await seen(await opened(), []), []);
    assert.deepEqual(await mountsBelow(layout.runDir), [layout.startsNamespace]);
  });

  it('is not had where it cannot be, with the reason, and leaves nothing', async () => {
    const missing = await StartsApart.open('/none', layout);
    assert.ok('why' in missing && /\/none is not installed/.test(missing.why));
    await removePrivateMount(layout.runDir);
    const shared = await StartsApart.open(treesBinary, layout);
    assert.ok('why' in shared && /Invalid argument/.test(shared.why), JSON.stringify(shared));
    assert.deepEqual(await mountsBelow(layout.runDir), []);
  });
});
