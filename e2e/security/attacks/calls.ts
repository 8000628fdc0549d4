/** Attacks by system calls and sockets that reach beyond a sandbox. None does harm where it succeeds: it makes a thing and lets go of it. */
import {
  breakout,
  EPERM,
  gvisorCapability,
  held,
  type InsideAttack,
  notHeld,
  refused,
  shownBy,
} from '../support/attack.ts';
import { allowing, allowingArchitecture, capable, roomAt, started } from '../support/weakenings.ts';

const unknownThere = 'its own kernel has no such call';
const ownUsers =
  'its own kernel gives it; the capabilities that come with it are of that kernel, and say nothing to the machine';

export const callAttacks: readonly InsideAttack[] = [
  breakout(
    'mount a file system',
    'mount("none", "/mnt", "tmpfs")',
    held(EPERM, refused, allowing('mount'), capable('CAP_SYS_ADMIN')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_ADMIN')),
  ),
  breakout(
    'mount a file system by the newer calls',
    'os.close(syscall("fsopen", b"tmpfs", 0))',
    held(EPERM, refused, allowing('fsopen'), capable('CAP_SYS_ADMIN')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_ADMIN')),
  ),
  breakout(
    'make kernel settings writable by a remount',
    'mount("none", "/proc/sys", None, MS_REMOUNT | MS_BIND)',
    held(EPERM, refused, allowing('mount'), capable('CAP_SYS_ADMIN')),
    shownBy('runc', EPERM, gvisorCapability),
  ),
  breakout(
    'change the root file system',
    `
try:
    syscall("unshare", CLONE_NEWNS)
except OSError:
    pass
os.chdir("/dev/shm")
syscall("pivot_root", b".", b".")`,
    held(EPERM, refused, allowing('unshare', 'pivot_root'), capable('CAP_SYS_ADMIN')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_ADMIN')),
  ),
  breakout(
    'become root of a user namespace',
    'syscall("unshare", CLONE_NEWUSER)',
    held(EPERM, 'seccomp refuses the call', allowing('unshare')),
    notHeld(ownUsers),
  ),
  breakout(
    'become root of a user namespace by clone',
    `
pid = syscall("clone", CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)`,
    held(/^ENOSYS/, 'seccomp allows no clone that makes a namespace', allowing('clone')),
    notHeld(ownUsers),
  ),
  breakout(
    'load a kernel module',
    // Without a file: the kernel gets as far as looking for it, or as saying that it takes no modules at all.
    'answers(lambda: syscall("finit_module", -1, b"", 0), errno.EBADF, errno.EINVAL, errno.ENOSYS)',
    held(EPERM, refused, allowing('finit_module'), capable('CAP_SYS_MODULE')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_MODULE')),
  ),
  breakout(
    'unload a kernel module',
    'answers(lambda: syscall("delete_module", b"skerry-there-is-none", os.O_NONBLOCK), errno.ENOENT, errno.ENOSYS)',
    held(EPERM, refused, allowing('delete_module'), capable('CAP_SYS_MODULE')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_MODULE')),
  ),
  breakout(
    'load a BPF map',
    'os.close(syscall("bpf", 0, struct.pack("IIIII", 2, 4, 4, 1, 0).ljust(128, b"\\0"), 128))',
    held(EPERM, refused, allowing('bpf'), capable('CAP_SYS_ADMIN')),
    shownBy('runc', /^EPERM/, unknownThere),
  ),
  breakout(
    'add a key to a keyring of the kernel',
    'syscall("add_key", b"user", b"skerry-attack", b"x", 1, -2)',
    held(EPERM, 'seccomp refuses the call', allowing('add_key')),
    shownBy('runc', /^EACCES/, 'its own kernel refuses the call'),
  ),
  breakout(
    'handle page faults of the kernel',
    'os.close(syscall("userfaultfd", os.O_CLOEXEC))',
    held(EPERM, refused, allowing('userfaultfd'), capable('CAP_SYS_PTRACE')),
    shownBy('runc', /^ENOSYS/, unknownThere),
  ),
  breakout(
    'open a ring of io_uring',
    'os.close(syscall("io_uring_setup", 1, ctypes.create_string_buffer(120)))',
    held(/^ENOSYS/, 'seccomp hides the call', allowing('io_uring_setup')),
    shownBy('runc', /^ENOSYS/, unknownThere),
  ),
  breakout(
    'count events of the processor',
    `
attributes = struct.pack("IIQ", 1, 112, 0).ljust(112, b"\\0")
os.close(syscall("perf_event_open", attributes, 0, -1, -1, 0))`,
    held(EPERM, refused, allowing('perf_event_open'), capable('CAP_PERFMON', 'CAP_SYS_ADMIN')),
    shownBy('runc', /^ENODEV/, 'its own kernel counts nothing'),
  ),
  breakout(
    'watch the files of everybody',
    'os.close(syscall("fanotify_init", 0, os.O_RDONLY))',
    held(EPERM, refused, allowing('fanotify_init'), capable('CAP_SYS_ADMIN')),
    shownBy('runc', /^ENOSYS/, unknownThere),
  ),
  breakout(
    "read the kernel's log",
    'said = syscall("syslog", 10, None, 0)',
    held(EPERM, refused, allowing('syslog'), capable('CAP_SYSLOG')),
    notHeld('it is the log of its own kernel, which has a few lines for fun'),
  ),
  breakout(
    'send frames past the network rules, as ARP spoofing does',
    `
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
frames.bind(("lo", 0))
frames.send(bytes(12) + b"\\x08\\x06" + bytes(28))`,
    held(/^EAFNOSUPPORT/, 'seccomp allows no packet sockets', allowing('socket')),
    held(/^ENOTSUP/, 'its own network takes no frames from programs', started('--allow-packet-socket-write')),
  ),
  breakout(
    'enter the kernel by its 32-bit door',
    `
import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("53b814000000cd805bc3"))  # getpid, in numbers of i386
entry = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
require(entry() == os.getpid(), "the call does nothing")`,
    held(
      /SIGSYS/,
      'seccomp knows one architecture alone',
      allowing('socket'),
      allowingArchitecture('SCMP_ARCH_X86'),
    ),
    shownBy('runc', /^the call does nothing/, 'its kernel has no such door'),
  ),
  breakout(
    'give itself a capability',
    `
header, data = struct.pack("Ii", 0x20080522, 0), struct.pack("IIIIII", 1 << 21, 1 << 21, 0, 0, 0, 0)
syscall("capset", header, data)`,
    held(EPERM, 'the capability is not given', capable('CAP_SYS_ADMIN')),
    held(EPERM, 'the capability is not given', capable('CAP_SYS_ADMIN')),
  ),
  breakout(
    'get a capability by that of a file',
    `
import shutil
shutil.copy(os.path.realpath("/proc/self/exe"), "/var/tmp/capable")
os.setxattr("/var/tmp/capable", "security.capability", struct.pack("IIIII", 0x02000001, 1 << 21, 0, 0, 0))
try:
    status = subprocess.run(["/var/tmp/capable", "-c", "print(open('/proc/self/status').read())"], capture_output=True, text=True).stdout
finally:
    os.unlink("/var/tmp/capable")
effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
require(int(effective.split()[1], 16) >> 21 & 1, effective)`,
    // Files of the sandbox's own users can have none of the machine's: there it is a file of nobody's.
    held(
      EPERM,
      'no program gets more than the bounding set',
      capable('CAP_SYS_ADMIN'),
      roomAt('/var/tmp', 64),
    ),
    shownBy('runc', /^ENOTSUP/, 'files have no capabilities in its own kernel'),
  ),
];
