import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gvisorSeccompProfile, seccompProfile } from './seccomp.ts';

describe('seccompProfile', () => {
  const profile = seccompProfile('x64');
  const rulesFor = (name: string) => profile.syscalls.filter((rule) => rule.names.includes(name));

  it('allows nothing by default', () => {
    assert.equal(profile.defaultAction, 'SCMP_ACT_ERRNO');
    assert.equal(profile.defaultErrnoRet, 38);
  });

  it('never allows what reaches beyond a sandbox', () => {
    for (const name of [
      'mount',
      'bpf',
      'unshare',
      'setns',
      'init_module',
      'kexec_load',
      'keyctl',
      'open_by_handle_at',
      'reboot',
      'userfaultfd',
      'io_uring_setup',
      'io_setup',
      'clone3',
    ]) {
      assert.ok(
        rulesFor(name).every((rule) => rule.action === 'SCMP_ACT_ERRNO'),
        name,
      );
    }
  });

  it('has every name once where it is allowed without conditions', () => {
    const names = profile.syscalls.filter((rule) => !rule.args).flatMap((rule) => rule.names);
    assert.deepEqual(
      names.filter((name, index) => names.indexOf(name) !== index),
      [],
    );
  });

  it('allows clone and socket only with harmless arguments', () => {
    for (const name of ['clone', 'socket', 'personality'])
      assert.ok(
        rulesFor(name).every((rule) => rule.args),
        name,
      );
  });

  it('allows every kind of netlink socket but that of the audit log, which is told to be missing', () => {
    const netlink = rulesFor('socket').filter(
      ({ args }) => args?.[0]?.value === 16 && args[0].op === 'SCMP_CMP_EQ',
    );
    assert.deepEqual(
      netlink.map(({ action, errnoRet, args }) => [action, errnoRet, args?.[1]]),
      [
        ['SCMP_ACT_ALLOW', undefined, { index: 2, value: 9, op: 'SCMP_CMP_NE' }],
        ['SCMP_ACT_ERRNO', 93, { index: 2, value: 9, op: 'SCMP_CMP_EQ' }],
      ],
    );
  });

  it('knows the architecture', () => {
    assert.deepEqual(seccompProfile('arm64').architectures, ['SCMP_ARCH_AARCH64']);
    assert.deepEqual(gvisorSeccompProfile('arm64').architectures, ['SCMP_ARCH_AARCH64']);
    assert.deepEqual(profile.architectures, ['SCMP_ARCH_X86_64']);
  });
});
