/** What of /proc, /sys and /dev a sandbox does not see or may not change, and the devices it has. Docker's lists, which runc does not apply by itself. */

/** Hidden behind an empty file or directory: kernel memory, keys, timers and firmware of the host. */
export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

/** Settings of the host's kernel. Of control groups of version 1 the file system that their directories are in is writable otherwise, and has no bound. */
export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
  '/sys/fs/cgroup',
];

/** Device cgroup: nothing but the harmless character devices that the runtime creates in every /dev, and terminals. */
export const deviceRules: readonly object[] = [
  { allow: false, access: 'rwm' },
  ...[
    [1, 3], // null
    [1, 5], // zero
    [1, 7], // full
    [1, 8], // random
    [1, 9], // urandom
    [5, 0], // tty
    [5, 2], // ptmx
  ].map(([major, minor]) => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
  { allow: true, type: 'c', major: 136, access: 'rwm' }, // pts/*
];

/** Namespaced kernel settings: ping and low ports for every user; a user namespace knows no more groups. IPv6 is the firewall's part. */
export const sysctls: Readonly<Record<string, string>> = {
  'net.ipv4.ping_group_range': '0 65535',
  'net.ipv4.ip_unprivileged_port_start': '0',
};
