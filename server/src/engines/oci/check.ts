/** What the machine must have for this engine, found or not, and what to do about it. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { hostFirewall } from '../../network/host-routing.ts';
import { resolverPid } from '../../network/resolver-process.ts';
import { checkRules } from '../../network/rules.ts';
import { run } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import type { EngineCheck } from '../engine.ts';
import { BUCKET_PROGRAM, whyNoBuckets } from './buckets.ts';
import { Cgroups } from './cgroups.ts';
import { CheckpointBuilds, unrestorable } from './checkpoints.ts';
import { whyNoDisks } from './disks.ts';
import { GpuRuntimes } from './gpus/gpu-runtimes.ts';
import { MachineGpus } from './gpus/machine-gpus.ts';
import type { Layout } from './layout.ts';
import { Leftovers } from './leftovers.ts';
import type { OciEngineOptions } from './options.ts';
import { findRuntimes, type RuntimeFindings, TRIAL_CACHE } from './runtime-choice.ts';
import { rememberedTrial } from './user-ids-trial.ts';

/** Programs and the Debian package each comes in. */
const programs = [
  ['ip', 'iproute2'],
  ['nft', 'nftables'],
  ['mount', 'mount'],
  ['umount', 'mount'],
  ['unshare', 'util-linux'],
  ['nsenter', 'util-linux'],
  ['cp', 'coreutils'],
  ['sync', 'coreutils'],
] as const;

const isRoot = (): boolean => process.getuid?.() === 0;

/**
 * The short form of the check that every start makes.
 * @throws SkerryError `unavailable` when not root or a program is missing.
 */
export async function requireMachine(): Promise<void> {
  if (!isRoot()) {
    throw new SkerryError(
      'unavailable',
      'Skerry must run as root to make sandboxes: start it with sudo, or install the service.',
    );
  }
  const missing = programs.filter(([name]) => !findProgram(name));
  if (missing.length > 0) {
    const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
    throw new SkerryError(
      'unavailable',
      `${missing.map(([name]) => name).join(', ')} not found: apt-get install -y ${packages}`,
    );
  }
}

export async function checkMachine(options: OciEngineOptions, layout: Layout): Promise<EngineCheck[]> {
  const checks: EngineCheck[] = [];
  const add = (name: string, ok: boolean, required: boolean, found: string, remedy: string) => {
    checks.push({ name, ok, required, found, remedy: ok ? '' : remedy });
  };
  add('root', isRoot(), true, `uid ${process.getuid?.() ?? '?'}`, 'Run with sudo, or install the service.');
  for (const [name, packageName] of programs) {
    const path = findProgram(name);
    add(name, path !== undefined, true, path ?? 'not found', `apt-get install -y ${packageName}`);
  }
  if (!isRoot()) return checks; // nothing below can be tried

  const runDir = await borrowDirectory(layout.runDir);
  const { runc, gvisor } = await findRuntimes(options.config.runscPath, layout.runDir);
  await runDir.giveBack();
  const wanted = options.config.runtime;
  add(
    'runc',
    runc.ok,
    wanted === 'runc' || !gvisor.ok,
    runc.ok ? runc.version : runc.reason,
    'apt-get install -y runc',
  );
  add(
    'gVisor',
    gvisor.ok,
    wanted === 'gvisor',
    gvisor.ok ? `${gvisor.version} (${gvisor.path})` : gvisor.reason,
    '`npm run setup` gets it or says why it cannot; or install runsc (https://gvisor.dev/docs/user_guide/install).',
  );
  const own = wanted !== 'runc' && gvisor.ok;
  add(
    'isolation',
    own || wanted === 'runc', // who asked for runc has chosen
    false,
    own
      ? "gVisor: sandboxes have a kernel of their own between them and this machine's"
      : "runc: sandboxes run on this machine's own kernel",
    'Do not let them run code that you do not trust until gVisor works.',
  );

  const cgroups = await Cgroups.detect();
  const missing = await cgroups.missingControllers();
  add(
    'cgroups',
    missing.length === 0,
    true,
    missing.length === 0
      ? `version ${cgroups.version}`
      : `version ${cgroups.version} without ${missing.join(', ')}`,
    'Mount the cgroup controllers memory, cpu and pids (in a container: run it privileged with the host cgroup namespace).',
  );
  add('overlayfs', ...(await checkOverlay(layout)));
  if (runc.ok) await addUsersCheck(add, layout);
  await addDiskChecks(add, options, layout);
  const snapshots = await options.content.checkpoints();
  if (snapshots.length > 0) {
    const builds = new CheckpointBuilds(options.agentBinaryPath); // a server that starts begins with that
    const build =
      gvisor.ok && existsSync(options.agentBinaryPath)
        ? await builds.of(gvisor.path, gvisor.version)
        : undefined;
    const lost = await unrestorable(snapshots, options.content, build);
    add(
      'memory snapshots',
      lost.length === 0,
      false,
      lost.length === 0 ? `${snapshots.length} can be restored` : lost.join('; '),
      'Only what made them can restore them: install that again, or take new ones. They expire by themselves.',
    );
  }
  add('agent', existsSync(options.agentBinaryPath), true, options.agentBinaryPath, 'npm run setup');
  const connections = options.connectionsBinaryPath;
  add('connections', existsSync(connections), true, connections, 'npm run setup');
  add('egress proxy', existsSync(options.egressBinaryPath), true, options.egressBinaryPath, 'npm run setup');
  add('trees', existsSync(options.treesBinaryPath), true, options.treesBinaryPath, 'npm run setup');
  const noBuckets = whyNoBuckets();
  add(
    'bucket mounts',
    noBuckets === undefined || !findProgram(BUCKET_PROGRAM), // who did not install it does not miss it
    false,
    noBuckets === undefined
      ? `through ${BUCKET_PROGRAM}`
      : `none, sandboxes that ask for one are refused: ${noBuckets} (apt-get install -y ${BUCKET_PROGRAM})`,
    'The kernel needs FUSE: modprobe fuse (in a container: give it the device /dev/fuse).',
  );
  await addGpuCheck(add, options, { runc, gvisor });
  await addNetworkChecks(add);
  await addResolverCheck(add, options.resolverBinaryPath, layout.resolverSocket);
  const leftovers = Leftovers.read(layout.leftoversFile);
  add(
    'leftovers',
    leftovers.length === 0,
    false,
    leftovers.map(({ what, reason }) => `${what}: ${reason}`).join('; ') || 'none',
    'The last start could not remove these and went on without them. End what still uses them and restart the server, or restart the machine.',
  );
  return checks;
}

/** Mounts one in the data directory: its filesystem must be able to hold upper directories. */
async function checkOverlay(layout: Layout): Promise<[boolean, boolean, string, string]> {
  const remedy =
    'Put the data directory on ext4, xfs or btrfs (in a container: on a volume, not on its overlay root).';
  const instancesDir = await borrowDirectory(layout.instancesDir);
  const trial = await mkdtemp(join(layout.instancesDir, 'check-'));
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(trial, name));
    await run(
      [
        'mount',
        '-n',
        '-t',
        'overlay',
        '-o',
        'lowerdir=lower,upperdir=upper,workdir=work,index=off,metacopy=off',
        'overlay',
        'merged',
      ],
      { cwd: trial },
    );
    await run(['umount', '-n', join(trial, 'merged')]);
    return [true, true, `works in ${layout.instancesDir}`, remedy];
  } catch (error) {
    return [false, true, error instanceof Error ? error.message : String(error), remedy];
  } finally {
    await rm(trial, { recursive: true, force: true });
    await instancesDir.giveBack();
  }
}

/** Whether sandboxes under runc have users of their own, as the server that runs, or the last one that did, has found. */
async function addUsersCheck(add: Add, layout: Layout): Promise<void> {
  const why = await rememberedTrial(layout);
  const none =
    'none: what the kernel counts for each user a sandbox under runc can take from all, and from this machine';
  add(
    'user namespaces',
    typeof why !== 'string',
    false,
    why === undefined
      ? 'tried when the server starts'
      : why === null
        ? 'one for each sandbox under runc'
        : `${none}: ${why}`,
    'It takes Linux 5.19 or newer with user namespaces (user.max_user_namespaces), and a data directory on ext4, XFS or btrfs. Else use gVisor.',
  );
}

/** Which way holds for the disks of sandboxes, and whether what is copied shares its room with what it was copied from. */
async function addDiskChecks(
  add: Add,
  { config, treesBinaryPath }: OciEngineOptions,
  layout: Layout,
): Promise<void> {
  const borrowed = [];
  for (const path of [layout.disksDir, layout.diskMountsDir]) borrowed.push(await borrowDirectory(path));
  const why = config.diskLimits === 'off' ? 'switched off' : await whyNoDisks(layout, treesBinaryPath);
  add(
    'disk limits',
    why === undefined,
    false,
    why === undefined
      ? `each sandbox has a file system in a file of its own: ${config.defaultDiskMiB} MiB and ${config.defaultDiskFiles} files unless it asks for another size; each build step has ${config.buildDiskMiB} MiB, and what a sandbox writes in a volume ${config.volumeDiskMiB} MiB`
      : `none, sandboxes can fill the disk: ${why}`,
    'The machine needs loop devices (/dev/loop-control), ext4 and mke2fs (apt-get install -y e2fsprogs), and diskLimits must be auto.',
  );
  const shares = await canReflink(layout.disksDir);
  add(
    'copy on write',
    true,
    false,
    shares ? 'yes, in the data directory' : 'no: snapshots and commits copy whole files',
    '',
  );
  for (const directory of borrowed.toReversed()) await directory.giveBack();
}

async function canReflink(directory: string): Promise<boolean> {
  const trial = await mkdtemp(join(directory, 'check-'));
  try {
    await writeFile(join(trial, 'file'), 'x'.repeat(4096));
    const { code } = await run(['cp', '--reflink=always', join(trial, 'file'), join(trial, 'copy')], {
      okCodes: [1],
    });
    return code === 0;
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

/**
 * Makes a directory that may be there already. Giving it back removes what was made, as a check must leave nothing behind; directories that
 * somebody has put something into meanwhile (a server that is just starting) stay.
 */
async function borrowDirectory(path: string): Promise<{ giveBack(): Promise<void> }> {
  const firstMade = await mkdir(path, { recursive: true, mode: 0o700 });
  return {
    giveBack: async () => {
      if (firstMade === undefined) return;
      await rm(join(path, TRIAL_CACHE), { force: true });
      try {
        for (let dir = path; dir.length >= firstMade.length; dir = dirname(dir)) await rmdir(dir);
      } catch {
        // in use by now
      }
    },
  };
}

type Add = (name: string, ok: boolean, required: boolean, found: string, remedy: string) => void;

async function addNetworkChecks(add: Add): Promise<void> {
  const { refused, latched } = await checkRules();
  add(
    'nftables',
    refused === undefined,
    true,
    refused ?? 'takes the rules',
    'The kernel needs nf_tables with nft_ct, nft_nat, nft_masq, nft_reject_inet and nft_fib_inet.',
  );
  add(
    'nftables at devices',
    latched,
    false,
    latched
      ? 'takes the rules'
      : 'sandboxes are open while somebody has taken the rules away, and have different addresses',
    'The kernel needs CONFIG_NETFILTER_INGRESS, as that of Debian has it.',
  );
  const forwarding = (await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8')).trim() === '1';
  add('IPv4 forwarding', true, false, forwarding ? 'on' : 'off; switched on while the server runs', '');
  const firewall = await hostFirewall();
  const found = {
    absent: 'no iptables',
    open: 'lets packets pass',
    restrictive: 'has rules; ours are put before them',
  };
  add('host firewall', true, false, found[firewall], '');
}

/** Lists the GPUs that sandboxes can have; without any, or with a file that says nothing usable, what is in the way. */
async function addGpuCheck(add: Add, { config }: OciEngineOptions, findings: RuntimeFindings): Promise<void> {
  const runtimes = new GpuRuntimes(findings);
  const { gpus, problems } = await new MachineGpus(config, (kind) => runtimes.of(kind)).find();
  const listed = gpus.map(({ name, types, runtimes: under }) => {
    const type = types[0] ?? 'of no known type: --gpu-types';
    return `${name} (${type}; ${[...under].join(', ') || 'no runtime for it'})`;
  });
  const left = problems.map(({ of, reason }) => `${of}: ${reason}`);
  // A machine that has NVIDIA's driver and no specification is one where the step was forgotten.
  const forgotten = gpus.length === 0 && existsSync('/dev/nvidiactl');
  const none = `none described in ${config.cdiDirs.join(', ')}`;
  add(
    'GPUs',
    problems.length === 0 && !forgotten,
    false,
    [listed.join(', ') || none, ...left].join('; '),
    forgotten && problems.length === 0
      ? 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml (of the NVIDIA Container Toolkit)'
      : 'Correct the file, or write it anew: docs/gpu.md says what it may hold.',
  );
}

/** It runs from the first start of the server until `skerry down`, so one that left its socket without that has died. */
async function addResolverCheck(add: Add, program: string, controlSocket: string): Promise<void> {
  if (!existsSync(program)) return add('resolver', false, true, `not found: ${program}`, 'npm run setup');
  const pid = await resolverPid(controlSocket);
  const dead = pid === undefined && existsSync(controlSocket);
  add(
    'resolver',
    !dead,
    false,
    pid !== undefined ? `process ${pid}` : dead ? 'not running' : 'started with the server',
    'Sandboxes resolve no names. A running server starts it anew within seconds, or its log says why not.',
  );
}
