/**
 * The system calls that programs under runc may make: an allow-list. What is not on it answers ENOSYS, as on a kernel without the call, so that libraries fall
 * back (glibc from clone3 to clone, for one); what programs know to be privileged answers EPERM, the answer they are written for. gVisor needs none of
 * that: its guests never reach the host's calls. There it is the first process that is kept from them.
 *
 * Only the machine's own architecture is allowed: the 32-bit entry (`socketcall`, `ipc`) would hide arguments from these rules.
 */

const EPERM = 1;
const ENOSYS = 38;
const EPROTONOSUPPORT = 93;
const EAFNOSUPPORT = 97;

interface Argument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}

interface Rule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';
  readonly errnoRet?: number;
  readonly args?: readonly Argument[];
}

export interface Seccomp {
  readonly defaultAction: Rule['action'];
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly Rule[];
}

const words = (text: string): string[] => text.trim().split(/\s+/);

const files = words(`
  access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate
  fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate
  futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link
  linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv
  preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile
  setxattr setxattrat splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat
  utime utimensat utimes vmsplice write writev`);

const processes = words(`
  arch_prctl capget capset chroot execve execveat exit exit_group fork getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid
  getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid kill landlock_add_rule landlock_create_ruleset
  landlock_restrict_self membarrier pause pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall rseq rt_sigaction
  rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo seccomp set_robust_list
  get_robust_list set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit
  setsid setuid sigaltstack tgkill tkill vfork wait4 waitid alarm ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp`);

const memory = words(`
  brk cachestat get_mempolicy madvise map_shadow_stack mbind memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mprotect mremap mseal
  msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise remap_file_pages set_mempolicy set_mempolicy_home_node`);

const waiting = words(`
  clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
  epoll_wait_old eventfd eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake gettimeofday nanosleep poll ppoll pselect6 select signalfd
  signalfd4 time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times`);

const scheduling = words(`
  getcpu ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
  sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield`);

const communication = words(`
  accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
  setsockopt shutdown socketpair mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv
  msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget`);

const system = words('getrandom sysinfo uname');

/**
 * Known and refused: what reaches beyond the sandbox. io_uring and io_setup are refused as unknown instead (libuv, databases and others then do without): the
 * kernel counts what the latter takes for the whole machine (`fs.aio-max-nr`), so that one sandbox would take it from all.
 */
const refused = words(`
  acct add_key bpf clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick init_module
  kexec_file_load kexec_load keyctl lookup_dcookie mount mount_setattr move_mount move_pages migrate_pages name_to_handle_at nfsservctl
  open_by_handle_at open_tree perf_event_open pivot_root quotactl quotactl_fd reboot request_key setdomainname sethostname setns
  settimeofday adjtimex swapoff swapon syslog umount umount2 unshare userfaultfd vhangup iopl ioperm vm86 vm86old modify_ldt`);

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: a clone with any of these makes namespaces. <linux/sched.h> */
const CLONE_NEW_FLAGS = 0x7e020000;

/** Address families a program has use for; the others (packet, vsock, the kernel's crypto, bluetooth, ...) are attack surface. <sys/socket.h> */
const socketFamilies = { AF_UNIX: 1, AF_INET: 2, AF_INET6: 10 };
const AF_NETLINK = 16;
/** The machine's audit log. Without the capability a record is refused, which su and sudo fail at; that there is no such socket they are prepared for. <linux/netlink.h> */
const NETLINK_AUDIT = 9;

/** personality(2) values that change nothing about memory protection: PER_LINUX, UNAME26, PER_LINUX32, their union, and "tell me". */
const personalities = [0x0, 0x20000, 0x8, 0x20008, 0xffffffff];

/** gdb and some tests switch address randomisation off for their child. */
const ADDR_NO_RANDOMIZE = 0x0040000;

const equals = (index: number, value: number): Argument => ({ index, value, op: 'SCMP_CMP_EQ' });
const differs = (index: number, value: number): Argument => ({ index, value, op: 'SCMP_CMP_NE' });

/** Of signals, those that cannot be held back. <signal.h> */
const [SIGKILL, SIGSTOP] = [9, 19];
/** fcntl(2): which signal tells that there is something to read. */
const F_SETSIG = 10;

const architecturesOf = (architecture: string): string[] => [
  architecture === 'arm64' ? 'SCMP_ARCH_AARCH64' : 'SCMP_ARCH_X86_64',
];

/**
 * What gVisor's programs may not do: send signals to the first process of their namespace, which is the agent. Linux keeps from such a process what it has no
 * handler for; gVisor would have it killed or stopped. Whether it is there (signal 0) may be asked.
 * @param architecture Node's name of the machine's architecture.
 */
export function gvisorSeccompProfile(architecture: string): Seccomp {
  const refuse = (names: readonly string[], args: readonly Argument[] = []): Rule => ({
    names,
    action: 'SCMP_ACT_ERRNO',
    errnoRet: EPERM,
    args,
  });
  // Numbers of processes are the lower half of a register.
  const isFirst = (index: number): Argument => ({
    index,
    value: 0xffffffff,
    valueTwo: 1,
    op: 'SCMP_CMP_MASKED_EQ',
  });
  const isSignal = (index: number): Argument => ({ index, value: 0, op: 'SCMP_CMP_GT' });
  return {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: architecturesOf(architecture),
    syscalls: [
      refuse(['kill', 'tkill'], [isFirst(0), isSignal(1)]),
      refuse(['tgkill'], [isFirst(1), isSignal(2)]),
      refuse(['rt_sigqueueinfo'], [isFirst(0)]),
      refuse(['rt_tgsigqueueinfo'], [isFirst(1)]),
      refuse(['pidfd_send_signal']), // of a descriptor it cannot be told whose it is; who finds it missing uses the others
      ...[SIGKILL, SIGSTOP].map((signal) =>
        refuse(['fcntl'], [equals(1, F_SETSIG), { ...isFirst(2), valueTwo: signal }]),
      ),
    ],
  };
}

/** @param architecture Node's name of the machine's architecture. */
export function seccompProfile(architecture: string): Seccomp {
  const allow = (names: readonly string[], args?: readonly Argument[]): Rule =>
    args ? { names, action: 'SCMP_ACT_ALLOW', args } : { names, action: 'SCMP_ACT_ALLOW' };
  const plain = [...files, ...processes, ...memory, ...waiting, ...scheduling, ...communication, ...system];
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures: architecturesOf(architecture),
    syscalls: [
      allow(plain),
      allow(['clone'], [{ index: 0, value: CLONE_NEW_FLAGS, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }]),
      ...Object.values(socketFamilies).map((family) => allow(['socket'], [equals(0, family)])),
      allow(['socket'], [equals(0, AF_NETLINK), differs(2, NETLINK_AUDIT)]),
      {
        names: ['socket'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: EPROTONOSUPPORT,
        args: [equals(0, AF_NETLINK), equals(2, NETLINK_AUDIT)],
      },
      {
        names: ['socket'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: EAFNOSUPPORT,
        args: [{ index: 0, value: AF_NETLINK, op: 'SCMP_CMP_GT' }],
      },
      ...[...personalities, ADDR_NO_RANDOMIZE].map((value) => allow(['personality'], [equals(0, value)])),
      { names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
    ],
  };
}
