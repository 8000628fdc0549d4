import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TestContent } from '../testing/test-content.ts';
import { type BundleOptions, createBundle } from './bundle.ts';
import { placeMounts } from './mounts.ts';

const options: BundleOptions = {
  runtime: 'runc',
  hostname: 'box',
  rootfs: '/r',
  cgroup: '/skerry-x/ta-1',
  networkNamespace: '/run/netns/n',
  limits: { memoryMiB: 64, milliCpu: 250, milliCpuRequest: 125, pids: 32 },
  binDir: '/bin-dir',
  mountPointsDir: '/run/skerry/m',
  socketDir: '/socket-dir',
  etcDir: '/etc-dir',
  mounts: [{ source: '/volume', target: '/data', readOnly: true, scratch: false }],
  ownLimits: { lowersOomScore: true, limitsOthers: true, maxOpenFiles: 4096 },
  cgroups: { version: 2, limitsSwap: true },
};

/** The parts of config.json that these tests look at; the specification gives their shapes. */
interface Config {
  process: {
    capabilities: Record<string, string[]>;
    oomScoreAdj?: number;
    env: string[];
    user: { uid: number; gid: number; additionalGids: number[] };
    rlimits: { type: string; hard: number }[];
  };
  mounts: { destination: string; source: string; options: string[] }[];
  hooks?: object;
  linux: {
    resources: Record<string, Record<string, number>>;
    devices: object[];
    seccomp?: object;
    maskedPaths?: string[];
    namespaces: { type: string; path?: string }[];
    uidMappings?: object[];
    gidMappings?: object[];
  };
}
const bundle = (changes: Partial<BundleOptions> = {}): Config =>
  JSON.parse(JSON.stringify(createBundle({ ...options, ...changes })));

describe('createBundle', () => {
  it('turns limits into cgroup values', () => {
    assert.deepEqual(bundle().linux.resources.memory, { limit: 64 << 20, swap: 64 << 20 });
    assert.deepEqual(bundle().linux.resources.cpu, { shares: 128, quota: 25_000, period: 100_000 });
    assert.deepEqual(bundle().linux.resources.pids, { limit: 32 });
    assert.deepEqual(bundle({ cgroups: { version: 1, limitsSwap: false } }).linux.resources.memory, {
      limit: 64 << 20,
    });
  });

  it('gives no capability that reaches beyond the sandbox', () => {
    const { capabilities } = bundle().process;
    for (const set of Object.values(capabilities)) {
      for (const name of [
        'CAP_SYS_ADMIN',
        'CAP_NET_ADMIN',
        'CAP_SYS_PTRACE',
        'CAP_SYS_MODULE',
        'CAP_MKNOD',
        'CAP_DAC_READ_SEARCH',
      ]) {
        assert.ok(!set.includes(name), name);
      }
    }
    assert.equal(capabilities.ambient, undefined);
  });

  it("mounts the caller's directories before ours, so that none covers the agent", () => {
    const order = bundle().mounts.map((mount) => mount.destination);
    assert.ok(order.indexOf('/data') < order.indexOf('/__modal/.bin'));
    const find = (path: string) => bundle().mounts.find((mount) => mount.destination === path);
    assert.ok(find('/data')?.options.includes('ro'));
    for (const path of ['/__modal/.bin', '/__modal/.run', '/sys', '/sys/fs/cgroup']) {
      assert.ok(find(path)?.options.includes('ro'), path);
    }
  });

  it('asks nothing of the kernel that the server may not do', () => {
    const { process } = bundle({
      ownLimits: { lowersOomScore: false, limitsOthers: false, maxOpenFiles: 1000 },
    });
    assert.equal(process.oomScoreAdj, undefined);
    assert.equal(process.rlimits.find((limit) => limit.type === 'RLIMIT_NOFILE')?.hard, 1000);
  });

  it("filters system calls under runc, where the host's kernel is the sandbox's", () => {
    assert.ok(bundle().linux.seccomp);
    assert.ok(bundle().linux.maskedPaths?.includes('/proc/kcore'));
    const { linux } = bundle({ runtime: 'gvisor' });
    assert.equal((linux.seccomp as { defaultAction: string }).defaultAction, 'SCMP_ACT_ALLOW'); // only the agent is kept
    assert.equal(linux.maskedPaths, undefined);
  });

  it('joins its user namespace before the network namespace that belongs to that, with limits that can be set', () => {
    const users = { path: '/run/users', firstId: 0x70010000 };
    const { linux, process } = bundle({ users });
    assert.deepEqual(linux.namespaces[0], { type: 'user', path: '/run/users' });
    const mapping = [{ containerID: 0, hostID: 0x70010000, size: 65536 }];
    assert.deepEqual([linux.uidMappings, linux.gidMappings], [mapping, mapping]);
    assert.equal(process.rlimits.length, 2);
    const weak = { lowersOomScore: false, limitsOthers: false, maxOpenFiles: 1024 };
    assert.deepEqual(bundle({ users, ownLimits: weak }).process.rlimits, []);
    assert.equal(bundle({ ownLimits: weak }).process.rlimits.length, 2);
    assert.equal(bundle().linux.uidMappings, undefined);
  });

  it('bounds terminals, which all sandboxes share, under runc', () => {
    const options = (runtime: 'runc' | 'gvisor') =>
      bundle({ runtime }).mounts.find(({ destination }) => destination === '/dev/pts')?.options;
    assert.ok(options('runc')?.includes('max=128'));
    assert.ok(options('gvisor')?.every((option) => !option.startsWith('max=')));
  });

  it('has what its devices bring, and lets the kernel allow them as they say', () => {
    const node = { path: '/dev/gpu', type: 'c', major: 195, minor: 0 } as const;
    const rule = { allow: true, type: 'c', major: 195, minor: 0, access: 'rw' };
    const mount = { destination: '/data/lib', type: 'bind', source: '/lib', options: ['ro'] } as const;
    const hooks = { createRuntime: [], createContainer: [{ path: '/usr/bin/hook' }] };
    const devices = {
      ...{ env: { GPU: 'a=b' }, devices: [node], rules: [rule], mounts: [mount], hooks },
      additionalGids: [44],
    };
    const made = bundle({ devices });
    const plain = bundle();
    assert.deepEqual(made.linux.devices, [node]);
    assert.deepEqual(made.linux.resources.devices, [
      ...(plain.linux.resources.devices as unknown as object[]),
      rule,
    ]);
    assert.ok(made.process.env.includes('GPU=a=b'));
    assert.deepEqual(made.process.user, { uid: 0, gid: 0, additionalGids: [44] });
    assert.deepEqual(made.hooks, hooks);
    const order = made.mounts.map(({ destination }) => destination);
    assert.ok(order.indexOf('/data') < order.indexOf('/data/lib'));
    assert.ok(order.indexOf('/data/lib') < order.indexOf('/__modal/.bin'));
    assert.deepEqual(
      [plain.hooks, plain.linux.devices, plain.process.user.additionalGids],
      [undefined, [], []],
    );
  });
});

describe('placeMounts', () => {
  const source = { kind: 'scratch', path: 's' } as const;
  const mount = (target: string) => () =>
    placeMounts([{ source, target, readOnly: false }], new TestContent('/'));
  it('takes absolute directories', () => {
    for (const target of ['/data', '/data/', '/a/b/c', '/procession'])
      assert.doesNotThrow(mount(target), target);
  });
  it('refuses what would cover the system or climb', () => {
    for (const target of [
      '/',
      '',
      'a',
      '/a/../b',
      '/a//b',
      '/./a',
      '/proc',
      '/proc/1',
      '/dev/',
      '/sys',
      '/__modal',
      '/a\0b',
      `/${'x'.repeat(2000)}`,
    ]) {
      assert.throws(mount(target), { code: 'invalid-argument' }, target);
    }
  });
});
