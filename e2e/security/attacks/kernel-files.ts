/** Attacks by files of the kernel's: settings, control groups, devices, and ways out of the root. None does harm where it succeeds: files are opened, and nothing is written. */
import {
  breakout,
  EPERM,
  gvisorCapability,
  held,
  type InsideAttack,
  refused,
  shownBy,
} from '../support/attack.ts';
import { allowing, allowingDevice, capable, unmasked, writable } from '../support/weakenings.ts';

export const kernelFileAttacks: readonly InsideAttack[] = [
  breakout(
    'leave a chroot for the root of the machine',
    `
os.makedirs("/tmp/inner", exist_ok=True)
os.chroot("/tmp/inner")
for _ in range(64):
    os.chdir("..")
os.chroot(".")
said = open(given["hostFile"]).read()`,
    shownBy('a chroot', /^ENOENT/, 'the root of the sandbox is the root of its mount namespace'),
    shownBy('runc', /^ENOENT/, 'the root of the sandbox is the root of its mount namespace'),
  ),
  breakout(
    'open a file by its handle, past every directory',
    `
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
number = ctypes.c_int()
syscall("name_to_handle_at", -100, b"/etc/hosts", handle, ctypes.byref(number), 0)
os.close(syscall("open_by_handle_at", os.open("/etc/hosts", os.O_RDONLY), handle, os.O_RDONLY))`,
    held(EPERM, refused, allowing('name_to_handle_at', 'open_by_handle_at'), capable('CAP_DAC_READ_SEARCH')),
    shownBy('runc', /^ENOTSUP/, 'its own kernel gives no handles'),
  ),
  breakout(
    'change which program handles core dumps',
    'os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))',
    held(/^(EROFS|EACCES)/, '/proc/sys is mounted read-only', writable('/proc/sys')),
    shownBy('runc', /^ENOENT/, 'its own /proc has no such file'),
  ),
  breakout(
    'direct the interrupts of the machine',
    'os.close(os.open("/proc/irq/default_smp_affinity", os.O_WRONLY))',
    held(/^(EROFS|EACCES)/, '/proc/irq is mounted read-only', writable('/proc/irq')),
    shownBy('runc', /^ENOENT/, 'its own /proc has no such file'),
  ),
  breakout(
    'list the keys in the keyrings of the machine',
    'require(open("/proc/keys").read(1), "the file is empty")',
    held(/^the file is empty/, '/proc/keys is masked', unmasked('/proc/keys')),
    shownBy('runc', /^ENOENT/, 'its own /proc has no such file'),
  ),
  breakout(
    'list the timers of the machine',
    'require(open("/proc/timer_list").read(1), "the file is empty")',
    held(/^the file is empty/, '/proc/timer_list is masked', unmasked('/proc/timer_list')),
    shownBy('runc', /^ENOENT/, 'its own /proc has no such file'),
  ),
  breakout(
    'change settings of devices',
    'os.close(os.open("/sys/kernel/mm/transparent_hugepage/enabled", os.O_WRONLY))',
    held(/^EROFS/, '/sys is mounted read-only', writable('/sys')),
    shownBy('runc', /^ENOENT/, 'its own /sys has no such file'),
  ),
  breakout(
    'raise its own limits',
    `
import glob
files = glob.glob("/sys/fs/cgroup/**/memory.limit_in_bytes", recursive=True) + glob.glob("/sys/fs/cgroup/memory.max")
require(files, "no file has the limit")
os.close(os.open(files[0], os.O_WRONLY))`,
    held(/^(EROFS|EACCES)/, '/sys/fs/cgroup is mounted read-only', writable('/sys/fs/cgroup')),
    shownBy('runc', /^no file has the limit/, 'its own kernel shows no control groups'),
  ),
  breakout(
    'mount the control groups, for their release agent',
    `
kind = ("cgroup2", None) if os.path.exists("/sys/fs/cgroup/cgroup.procs") else ("cgroup", "memory")
mount("none", "/mnt", kind[0], 0, kind[1])
require(os.path.exists("/mnt/cgroup.procs"), "nothing is there")`,
    held(EPERM, refused, allowing('mount'), capable('CAP_SYS_ADMIN')),
    held(EPERM, gvisorCapability, capable('CAP_SYS_ADMIN')),
  ),
  breakout(
    'make the node of a device',
    'os.mknod("/dev/attack", 0o600 | 0o020000, os.makedev(1, 11)); os.unlink("/dev/attack")',
    held(EPERM, 'CAP_MKNOD is not given', capable('CAP_MKNOD')),
    held(EPERM, gvisorCapability, capable('CAP_MKNOD')),
  ),
  breakout(
    'use a device by a node that came with its files',
    'os.close(os.open(given["deviceNode"], os.O_RDONLY | os.O_NONBLOCK))',
    held(
      EPERM,
      'the device is not on the list of its control group',
      allowingDevice(1, 11),
      capable('CAP_SYSLOG'),
    ),
    shownBy('runc', /^ENXIO/, 'its own kernel has no such device'),
  ),
];
