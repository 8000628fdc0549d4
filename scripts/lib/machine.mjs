/**
 * A throwaway machine to try Skerry on: Debian with its own kernel, systemd and cgroup version 2, in QEMU without hardware acceleration. Everything that is made
 * of it lies in one directory. Works only as root, on a Debian whose apt has qemu-system-x86 and mmdebstrap.
 */
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { capture } from './command.mjs';
import { SetupError } from './step.mjs';
import { ensurePackages } from './system-packages.mjs';

/** What builds and runs the machine. */
const packages = [
  { name: 'qemu-system-x86', command: 'qemu-system-x86_64', purpose: 'the machine' },
  { name: 'mmdebstrap', command: 'mmdebstrap', purpose: 'its system' },
  { name: 'e2fsprogs', command: 'mkfs.ext4', purpose: 'its disk' },
  { name: 'openssh-client', command: 'ssh', purpose: 'the way in' },
];

/** What is in it from the start: a bootable Debian, a way in, and what a user has who clones a Node project. */
const included = [
  ...['systemd-sysv', 'dbus', 'udev', 'linux-image-cloud-amd64', 'openssh-server', 'iproute2', 'kmod'],
  ...['ca-certificates', 'curl', 'git', 'procps', 'nodejs', 'npm'],
];

const CA_BUNDLE = 'etc/ssl/certs/ca-certificates.crt';
const caVariables = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'PIP_CERT', 'REQUESTS_CA_BUNDLE'];
const DISK_BYTES = '24G';
const BOOT_TIMEOUT_MS = 900_000;

export class Machine {
  /**
   * `carrying`: Debian's packages that its disk has besides, and what else is put into the disk's tree while it is made.
   * @param {{suite: string, dir: string, port: number, memoryMiB: number, carrying?: {packages: string[], fill: Function}}} options
   */
  constructor({ suite, dir, port, memoryMiB, carrying }) {
    this.suite = suite;
    this.dir = dir;
    this.port = port;
    this.memoryMiB = memoryMiB;
    this.carrying = carrying;
    this.qemu = undefined;
  }

  file(name) {
    return join(this.dir, name);
  }

  /** Makes its disk, once unless it carries something; every use starts from a copy. */
  async build(progress) {
    const disk = this.file('pristine.img');
    if (!this.carrying && existsSync(disk)) return 'there from an earlier run';
    await ensurePackages(packages, progress);
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    const tree = this.file('tree');
    rmSync(tree, { recursive: true, force: true });
    const flags = [
      '--quiet',
      '--variant=minbase',
      `--include=${[...included, ...(this.carrying?.packages ?? [])].join(',')}`,
    ];
    // Its mounts are its own business: older and newer mmdebstrap do different things to those of the machine.
    const isolated = ['unshare', '--mount', '--propagation', 'private'];
    await capture([...isolated, 'mmdebstrap', ...flags, this.suite, tree], { progress });
    await this.configure(tree);
    await this.carrying?.fill(tree, progress);
    const kernel = readdirSync(join(tree, 'boot'));
    for (const [name, prefix] of [
      ['kernel', 'vmlinuz-'],
      ['initrd', 'initrd.img-'],
    ]) {
      const found = kernel.find((file) => file.startsWith(prefix));
      if (found === undefined) throw new SetupError(`Debian's ${this.suite} came without ${prefix}*.`);
      copyFileSync(join(tree, 'boot', found), this.file(name));
    }
    await capture(['truncate', '--size', DISK_BYTES, `${disk}.new`]);
    await capture(['mkfs.ext4', '-q', '-d', tree, `${disk}.new`], { progress });
    await capture(['mv', `${disk}.new`, disk]);
    rmSync(tree, { recursive: true, force: true });
    return `Debian ${this.suite}`;
  }

  async configure(tree) {
    rmSync(this.file('key'), { force: true });
    rmSync(this.file('key.pub'), { force: true });
    await capture(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', this.file('key')]);
    mkdirSync(join(tree, 'root/.ssh'), { recursive: true, mode: 0o700 });
    copyFileSync(this.file('key.pub'), join(tree, 'root/.ssh/authorized_keys'));
    writeFileSync(join(tree, 'etc/hostname'), 'skerry-machine\n');
    writeFileSync(join(tree, 'etc/fstab'), '/dev/vda / ext4 defaults 0 1\n');
    const network = '[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n';
    writeFileSync(join(tree, 'etc/systemd/network/50-any.network'), network);
    await capture(['chroot', tree, 'systemctl', '--quiet', 'enable', 'systemd-networkd']);
    rmSync(join(tree, 'etc/resolv.conf'), { force: true });
    copyFileSync('/etc/resolv.conf', join(tree, 'etc/resolv.conf'));
    // On networks that inspect TLS it must trust what this machine trusts.
    copyFileSync(join('/', CA_BUNDLE), join(tree, CA_BUNDLE));
    appendFileSync(
      join(tree, 'etc/environment'),
      caVariables.map((name) => `${name}=/${CA_BUNDLE}\n`).join(''),
    );
    writeFileSync(join(tree, 'root/.npmrc'), `cafile=/${CA_BUNDLE}\n`);
  }

  /** Boots it from a fresh copy of the disk. */
  async start(progress) {
    await capture(['cp', '--sparse=always', this.file('pristine.img'), this.file('disk.img')], { progress });
    const console = openSync(this.file('console.log'), 'w');
    // One processor, no newer instructions: what QEMU translates is slow, and with threads or AVX it crashes just-in-time compilers.
    const argv = [
      ...['-accel', 'tcg,thread=single', '-cpu', 'Nehalem', '-smp', '1', '-m', String(this.memoryMiB)],
      ...['-kernel', this.file('kernel'), '-initrd', this.file('initrd')],
      ...['-append', 'root=/dev/vda rw console=ttyS0', '-nographic'],
      ...['-drive', `file=${this.file('disk.img')},format=raw,if=virtio,cache=unsafe`],
      ...['-netdev', `user,id=net0,hostfwd=tcp:127.0.0.1:${this.port}-:22`],
      ...['-device', 'virtio-net-pci,netdev=net0'],
    ];
    this.qemu = spawn('qemu-system-x86_64', argv, { stdio: ['ignore', console, console] });
    closeSync(console);
    process.once('exit', () => this.qemu?.kill());
    process.once('SIGTERM', () => process.exit(143));
    await this.answers(progress);
  }

  /** Waits until it can be logged in to, in another boot than `lastBoot` if one is given. Resolves with the id of the boot. */
  async answers(progress, lastBoot) {
    const deadline = Date.now() + BOOT_TIMEOUT_MS;
    while (Date.now() < deadline) {
      if (this.qemu?.exitCode !== null) throw new SetupError(`QEMU ended; see ${this.file('console.log')}.`);
      const { code, output } = await this.run('cat /proc/sys/kernel/random/boot_id');
      if (code === 0 && output.trim() !== lastBoot) return output.trim();
      progress?.('booting');
      await sleep(3000);
    }
    throw new SetupError(`It did not come up; see ${this.file('console.log')}.`);
  }

  /** Runs a command line as root in it, with its environment. Resolves with its status and output, whatever they are. */
  async run(commandLine, progress) {
    const words = `set -a; . /etc/environment; set +a; cd /root/skerry 2>/dev/null; ${commandLine}`;
    const child = spawn('ssh', [...this.sshFlags(), words], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk.toString('utf8');
        progress?.(chunk.toString('utf8'));
      });
    }
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve(status ?? 255));
    });
    return { code, output };
  }

  /** Copies what is committed here to /root/skerry in it, as a repository of its own. */
  async copyCommit(root, progress) {
    const archive = spawn('git', ['-C', root, 'archive', '--format=tar', '--prefix=skerry/', 'HEAD'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const unpack = spawn('ssh', [...this.sshFlags(), 'tar xf - -C /root'], {
      stdio: [archive.stdout, 'ignore', 'inherit'],
    });
    const code = await new Promise((resolve, reject) => {
      unpack.once('error', reject);
      unpack.once('close', resolve);
    });
    if (code !== 0) throw new SetupError('The commit could not be copied into the machine.');
    await this.run(
      'git init -q && git add -A && git -c user.name=m -c user.email=m@m commit -qm import',
      progress,
    );
  }

  sshFlags() {
    const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'ConnectTimeout=20'];
    return [
      ...['-q', '-i', this.file('key'), '-p', String(this.port)],
      ...options.flatMap((option) => ['-o', option]),
      'root@127.0.0.1',
    ];
  }

  /** Ends it; its disk is not kept. */
  async stop() {
    const { qemu } = this;
    if (qemu && qemu.exitCode === null && qemu.signalCode === null) {
      const ended = new Promise((resolve) => qemu.once('close', resolve));
      qemu.kill('SIGTERM');
      await ended;
    }
    rmSync(this.file('disk.img'), { force: true });
  }
}
