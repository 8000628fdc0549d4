/**
 * Linux capabilities of everything in a sandbox: what root needs to install packages, switch users, serve low ports and ping, and nothing that reaches
 * beyond the namespaces. Docker's default set without MKNOD (device nodes would be refused by the cgroup anyway) and without AUDIT_WRITE, which forges
 * records in the machine's log: su and sudo do without where there is no audit socket (`seccomp.ts`).
 */
export const capabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  // Debian's ping carries it as a file capability and cannot be executed without it. What raw sockets could do is closed elsewhere: seccomp allows no
  // packet sockets, and the firewall drops packets with a source address that is not the sandbox's own.
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];
