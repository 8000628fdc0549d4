import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../../../platform/command.ts';
import { readCdiDevices } from './cdi-files.ts';

const edits = { deviceNodes: [{ path: '/dev/gpu0', major: 240, minor: 0 }] };
const file = (changes: object = {}) => ({
  cdiVersion: '0.6.0',
  kind: 'vendor.test/gpu',
  devices: [{ name: '0', containerEdits: edits }],
  ...changes,
});
const withEdits = (containerEdits: object) => file({ devices: [{ name: '0', containerEdits }] });

describe('readCdiDevices', () => {
  let root: string;
  let count = 0;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'cdi-'));
  });
  after(() => rm(root, { recursive: true }));

  /** A directory with these files. */
  async function directory(files: Readonly<Record<string, string | object>>): Promise<string> {
    const path = join(root, String(count++));
    await mkdir(path);
    for (const [name, content] of Object.entries(files)) {
      const text = typeof content === 'string' ? content : JSON.stringify(content);
      await writeFile(join(path, name), text, { mode: 0o644 });
    }
    return path;
  }
  const names = async (...directories: string[]) => [...(await readCdiDevices(directories)).devices.keys()];
  const reasons = async (...directories: string[]) =>
    (await readCdiDevices(directories)).problems.map(({ reason }) => reason);

  it('reads JSON and YAML, with what their files have in common', async () => {
    // As nvidia-ctk 1.20.2 wrote it for an H200, with fewer libraries.
    const yaml = `---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
              major: 195
              fileMode: 438
              permissions: rwm
        hooks:
            - hookName: createRuntime
              path: /usr/bin/nvidia-cdi-hook
              args:
                - nvidia-cdi-hook
                - apply-cuda-memory-limits
                - --driver-root
                - ""
                - --gpu-id
                - GPU-d9fcc0e0-ba79-50f1-bcc3-643073e1c0fe
              env:
                - NVIDIA_CTK_DEBUG=false
containerEdits:
    env:
        - NVIDIA_CTK_LIBCUDA_DIR=/usr/lib/x86_64-linux-gnu
        - NVIDIA_VISIBLE_DEVICES=void
    deviceNodes:
        - path: /dev/nvidiactl
          major: 195
          minor: 255
          fileMode: 438
          permissions: rwm
    hooks:
        - hookName: createContainer
          path: /usr/bin/nvidia-cdi-hook
          args:
            - nvidia-cdi-hook
            - create-symlinks
            - --link
            - libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so
          env:
            - NVIDIA_CTK_DEBUG=false
    mounts:
        - hostPath: /dev/null
          containerPath: /var/run/nvidia-container-devices/void
          options:
            - ro
            - nosuid
            - nodev
            - bind
        - hostPath: /usr/bin/nvidia-smi
          containerPath: /usr/bin/nvidia-smi
          options:
            - ro
            - nosuid
            - nodev
            - rbind
            - rprivate
`;
    const path = await directory({ 'a.json': file(), 'b.yaml': yaml, 'README.md': 'no specification' });
    const { devices, problems } = await readCdiDevices([path]);
    assert.deepEqual(problems, []);
    assert.deepEqual([...devices.keys()], ['vendor.test/gpu=0', 'nvidia.com/gpu=0']);
    const gpu = devices.get('nvidia.com/gpu=0');
    assert.ok(gpu);
    assert.ok(gpu.common.env.includes('NVIDIA_VISIBLE_DEVICES=void'));
    assert.equal(gpu.common.hooks[0]?.hookName, 'createContainer');
    assert.equal(gpu.own.hooks[0]?.hookName, 'createRuntime');
    assert.equal(gpu.own.deviceNodes[0]?.path, '/dev/nvidia0');
  });

  it('takes the later of two directories, and neither of two in one', async () => {
    const [first, second] = [
      await directory({ 'a.json': file() }),
      await directory({ 'a.json': file({ annotations: { from: 'second' } }) }),
    ];
    const { devices } = await readCdiDevices([first, second]);
    assert.equal(devices.get('vendor.test/gpu=0')?.annotations.from, 'second');
    const twice = await directory({ 'a.json': file(), 'b.json': file(), 'c.json': file() });
    assert.deepEqual(await names(twice), []);
    assert.match((await reasons(twice)).join(), /twice/);
  });

  it('says nothing of a directory that is not there', async () => {
    assert.deepEqual(await readCdiDevices([join(root, 'absent')]), { devices: new Map(), problems: [] });
  });

  const refused: readonly (readonly [string, RegExp, object | string])[] = [
    ['no JSON', /JSON/, '{'],
    ['a list', /expected object/, '[]'],
    ['another version', /cdiVersion/, file({ cdiVersion: '2.0.0' })],
    ['no kind', /kind/, file({ kind: 'gpu' })],
    ['no device', /devices/, file({ devices: [] })],
    ['a field that is not known', /Unrecognized/, file({ surprise: 1 })],
    ['a way to Intel RDT', /Unrecognized/, withEdits({ intelRdt: { closID: 'x' } })],
    [
      'a hook at another time',
      /createContainer/,
      withEdits({ hooks: [{ hookName: 'poststop', path: '/bin/true' }] }),
    ],
    [
      'a hook without a whole path',
      /path/,
      withEdits({ hooks: [{ hookName: 'createContainer', path: 'true' }] }),
    ],
    ['a disk', /type/, withEdits({ deviceNodes: [{ path: '/dev/sda', type: 'b', major: 8, minor: 0 }] })],
    ['a device elsewhere', /\/dev/, withEdits({ deviceNodes: [{ path: '/etc/x', major: 1, minor: 3 }] })],
    ['a device that climbs', /\.\./, withEdits({ deviceNodes: [{ path: '/dev/../etc/x' }] })],
    ["a device over the sandbox's own", /\/dev/, withEdits({ deviceNodes: [{ path: '/dev/null' }] })],
    [
      'a number that the kernel has not',
      /major/,
      withEdits({ deviceNodes: [{ path: '/dev/x', major: 5000 }] }),
    ],
    [
      'a mount over the agent',
      /mounted/,
      withEdits({ mounts: [{ hostPath: '/a', containerPath: '/__modal/x' }] }),
    ],
    ['a mount over /proc', /mounted/, withEdits({ mounts: [{ hostPath: '/a', containerPath: '/proc/x' }] })],
    [
      'a mount that is no bind',
      /type/,
      withEdits({ mounts: [{ hostPath: '/a', containerPath: '/b', type: 'proc' }] }),
    ],
    [
      'a mount shared with the machine',
      /options/,
      withEdits({ mounts: [{ hostPath: '/a', containerPath: '/b', options: ['rshared'] }] }),
    ],
    [
      'a mount with set-user-id programs',
      /options/,
      withEdits({ mounts: [{ hostPath: '/a', containerPath: '/b', options: ['suid'] }] }),
    ],
    ['a variable without a name', /NAME=VALUE/, withEdits({ env: ['=x'] })],
    ['a variable with a zero byte', /zero/, withEdits({ env: ['A=\0'] })],
    ['a negative group', /additionalGids/, withEdits({ additionalGids: [-1] })],
    ['more than anybody needs', /env/, withEdits({ env: Array.from({ length: 2000 }, (_, i) => `A${i}=`) })],
    ['a file that is too large', /larger/, `${' '.repeat(4 * 2 ** 20)} `],
    ['nesting without end', /./, '['.repeat(100_000)],
  ];
  for (const [what, reason, content] of refused) {
    it(`refuses ${what}, and takes the others`, async () => {
      const path = await directory({ 'bad.json': content, 'good.json': file() });
      assert.deepEqual(await names(path), ['vendor.test/gpu=0']);
      assert.match((await reasons(path)).join(), reason);
    });
  }

  it('refuses YAML that unfolds, or says something twice', async () => {
    const bomb = 'a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n';
    const path = await directory({ 'bomb.yaml': bomb, 'twice.yml': 'kind: a\nkind: b\n' });
    assert.equal((await reasons(path)).length, 2);
  });

  it('refuses what others than root could have written, and what is no file', async () => {
    const path = await directory({ 'open.json': file(), 'foreign.json': file(), 'target.txt': file() });
    await chmod(join(path, 'open.json'), 0o666);
    await chown(join(path, 'foreign.json'), 1000, 1000);
    await run(['mkfifo', join(path, 'fifo.json')]);
    await mkdir(join(path, 'directory.json'));
    await symlink(join(path, 'target.txt'), join(path, 'link.json')); // as good as its target
    assert.deepEqual(await names(path), ['vendor.test/gpu=0']);
    const found = await reasons(path);
    assert.equal(found.filter((reason) => reason.includes('belong to root')).length, 2);
    assert.equal(found.filter((reason) => reason.includes('not a file')).length, 2);
  });
});
