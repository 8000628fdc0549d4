/** Attacks on what other processes of the machine have, for which the test's own stands (`support/canary.ts`). */
import {
  breakout,
  EPERM,
  gvisorCapability,
  held,
  type InsideAttack,
  refused,
  shownBy,
} from '../support/attack.ts';
import { allowing, capable, leavingOpen, rememberingFormer, without } from '../support/weakenings.ts';

export const otherAttacks: readonly InsideAttack[] = [
  breakout(
    'enter a namespace',
    'syscall("setns", os.open("/proc/self/ns/uts", os.O_RDONLY), CLONE_NEWUTS)',
    held(EPERM, refused, allowing('setns'), capable('CAP_SYS_ADMIN')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_ADMIN')),
  ),
  breakout(
    'look into a process of the machine',
    `
def canary(pid):
    try:
        return given["canary"].encode() in open(f"/proc/{pid}/environ", "rb").read()
    except OSError:
        return False
require(any(canary(pid) for pid in os.listdir("/proc") if pid.isdigit()), "no such process is there")`,
    held(
      /^no such process/,
      'its processes are in a namespace of their own',
      without('pid'),
      capable('CAP_SYS_PTRACE'),
    ),
    shownBy('runc', /^no such process/, 'its processes are those of its own kernel'),
  ),
  breakout(
    'find what somebody was given whose sandbox it was made after, while it waited',
    `
import stat
def texts():
    for name in ("environ", "cmdline", "mountinfo"):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            yield f"/proc/{pid}/{name}"
    for top in ("/dev/shm", "/etc", "/root", "/run", "/tmp", "/var/tmp"):
        for directory, _, names in os.walk(top):
            yield from (os.path.join(directory, name) for name in names)
def tells(path):
    try:
        return (path.startswith("/proc/") or stat.S_ISREG(os.lstat(path).st_mode)) and given["former"].encode() in open(path, "rb").read()
    except OSError:
        return False
require(any(map(tells, texts())), "nothing of it is there")`,
    held(/^nothing of it/, 'what waits was made without anything of anybody', rememberingFormer),
    held(/^nothing of it/, 'what waits was made without anything of anybody', rememberingFormer),
  ),
  breakout(
    'trace a process of the machine',
    `
checked(libc.ptrace(16, given["canaryPid"], None, None))
os.waitpid(given["canaryPid"], 0)
checked(libc.ptrace(17, given["canaryPid"], None, None))`,
    held(
      /^ESRCH/,
      'its processes are in a namespace of their own',
      without('pid'),
      capable('CAP_SYS_PTRACE'),
    ),
    shownBy('runc', /^ESRCH/, 'its processes are those of its own kernel'),
  ),
  breakout(
    'read shared memory of the machine',
    `
libc.shmat.restype = ctypes.c_void_p
address = libc.shmat(checked(libc.shmget(given["memoryKey"], 0, 0)), None, 0o10000)
require(ctypes.string_at(address) == given["canary"].encode(), "the memory says something else")`,
    held(/^ENOENT/, 'its shared memory is in a namespace of its own', without('ipc')),
    shownBy('runc', /^ENOENT/, 'its shared memory is that of its own kernel'),
  ),
  breakout(
    'talk to a program of the machine by an abstract socket',
    `
channel = socket.socket(socket.AF_UNIX)
channel.connect("\\0" + given["abstractSocket"])
require(channel.recv(64).decode() == given["canary"], "somebody else answers")`,
    held(/^ECONNREFUSED/, 'its sockets are in a network namespace of their own', without('network')),
    shownBy('runc', /^ECONNREFUSED/, 'its sockets are those of its own kernel'),
  ),
  breakout(
    'use descriptors that were left open for it',
    `
import stat
def kind(fd):
    try:
        return os.fstat(fd).st_mode
    except OSError:
        return 0
require(any(stat.S_ISDIR(kind(fd)) or stat.S_ISREG(kind(fd)) or stat.S_ISSOCK(kind(fd)) for fd in range(256)), "there are pipes alone")`,
    held(/^there are pipes alone/, 'the agent leaves nothing open', leavingOpen('binDir')),
    shownBy('runc', /^there are pipes alone/, 'the agent leaves nothing open'),
  ),
  breakout(
    'reach the files of the machine by a descriptor as its working directory',
    `
for fd in range(3, 256):
    try:
        os.chdir(f"/proc/self/fd/{fd}")
        said = open("../file").read()
        break
    except OSError as error:
        failure = error
else:
    raise failure
require(said == given["canary"], "it is another file")`,
    held(/^ENOENT/, 'the agent leaves nothing open', leavingOpen('binDir')),
    shownBy('runc', /^ENOENT/, 'the agent leaves nothing open'),
  ),
];
