/**
 * Where everything of a server and of each of its instances is, derived from the data directory and the instance's id alone: whatever a killed
 * server left can be found without any record of it.
 */
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type InstanceId, isInstanceId } from '../../ids.ts';
import { cgroupPlace } from './cgroup-place.ts';

/** Bytes of `sun_path` in `struct sockaddr_un` without the final zero, unix(7). */
const MAX_SOCKET_PATH = 107;

/** 8 hexadecimal digits that tell this server's resources on the machine from those of another one. */
export const instanceName = (dataDir: string): string =>
  createHash('sha256').update(resolve(dataDir)).digest('hex').slice(0, 8);

/** Where the server keeps what lives only as long as the machine is up. */
export const defaultRunDir = (dataDir: string): string => `/run/skerry-${instanceName(dataDir)}`;

/** How many trees a running instance may have mounted. */
export const MAX_TREE_MOUNTS = 64;

export class Layout {
  readonly instance: string;
  /** Gone after a reboot: state of the runtimes, sockets, mount points, records. */
  readonly runDir: string;
  /** On disk: the writable layers. */
  readonly instancesDir: string;
  /** On disk: a file system per instance, each in a file. */
  readonly disksDir: string;
  /** On disk: file systems that are kept whatever ends, each in a file. */
  readonly keptDisksDir: string;
  /** On disk, since /run is often mounted noexec: what is mounted into every sandbox. */
  readonly sharedDir: string;

  constructor(dataDir: string, runDir: string) {
    this.instance = instanceName(dataDir);
    this.runDir = resolve(runDir);
    this.instancesDir = join(resolve(dataDir), 'instances');
    this.disksDir = join(resolve(dataDir), 'disks');
    this.keptDisksDir = join(resolve(dataDir), 'kept-disks');
    this.sharedDir = join(resolve(dataDir), 'engine');
    const longest = join(this.runDir, 't', `ta-${'x'.repeat(26)}`, 's', 'agent.sock');
    if (longest.length > MAX_SOCKET_PATH) {
      throw new SkerryError(
        'invalid-argument',
        `The run directory ${runDir} is too long for unix sockets in it.`,
      );
    }
  }

  /** Name of the parent of all cgroups of this server, in each hierarchy. */
  get cgroupParent(): string {
    return cgroupPlace(this.instance);
  }

  get bundlesDir(): string {
    return join(this.runDir, 't');
  }

  /** Where earlier versions kept links to layers; nothing needs them. */
  get formerLinksDir(): string {
    return join(this.runDir, 'l');
  }

  /** Where the file systems of instances are mounted. */
  get diskMountsDir(): string {
    return join(this.runDir, 'd');
  }

  /** Where those that are kept are mounted. */
  get keptMountsDir(): string {
    return join(this.runDir, 'k');
  }

  /** Network namespaces, held by mounts. */
  get namespacesDir(): string {
    return join(this.runDir, 'n');
  }

  /** Holds the mount namespace that containers are started in, by a mount. */
  get startsNamespace(): string {
    return join(this.runDir, 'starts');
  }

  /** Where the buckets of instances are seen. */
  get bucketsDir(): string {
    return join(this.runDir, 'b');
  }

  get leftoversFile(): string {
    return join(this.runDir, 'leftovers.json');
  }

  /** Remembers whether instances can have users of their own. */
  get ownUsersFile(): string {
    return join(this.runDir, 'own-users.json');
  }

  get networkStateFile(): string {
    return join(this.runDir, 'subnet');
  }

  /** By which the process that resolves sandboxes' names is found. */
  get resolverSocket(): string {
    return join(this.runDir, 'resolver.sock');
  }

  /** Holds that process; no instance's id looks like this. */
  get resolverCgroup(): string {
    return `${this.cgroupParent}/resolver`;
  }

  /** By which the process that lets sandboxes out by names is found. */
  get egressSocket(): string {
    return join(this.runDir, 'egress.sock');
  }

  get egressCgroup(): string {
    return `${this.cgroupParent}/egress`;
  }

  get binDir(): string {
    return join(this.sharedDir, 'bin');
  }

  get caDir(): string {
    return join(this.sharedDir, 'ca');
  }

  get skeletonDir(): string {
    return join(this.sharedDir, 'skeleton');
  }

  /** Of every gVisor sandbox: empty directories, one for each tree that may be mounted in it. Nothing can be written there. */
  get mountPointsDir(): string {
    return join(this.runDir, 'm');
  }

  runtimeRoot(runtime: string): string {
    return join(this.runDir, runtime);
  }

  of(id: InstanceId): InstanceLayout {
    return new InstanceLayout(this, id);
  }
}

/** The places of one instance. */
export class InstanceLayout {
  readonly id: InstanceId;
  /** In the run directory; also the OCI bundle. */
  readonly dir: string;
  /** All that it writes; a link to its disk, if it has one. */
  readonly diskDir: string;
  readonly cgroup: string;
  /** Its buckets are seen in there, and nowhere in `dir`: that is removed with all that is in it. */
  readonly bucketsDir: string;
  /** Of the programs of its buckets. */
  readonly bucketsCgroup: string;

  constructor(layout: Layout, id: InstanceId) {
    if (!isInstanceId(id))
      throw new SkerryError('invalid-argument', `Not an instance id: ${JSON.stringify(id)}`);
    this.id = id;
    this.dir = join(layout.bundlesDir, id);
    this.diskDir = join(layout.instancesDir, id);
    this.cgroup = `${layout.cgroupParent}/${id}`;
    this.bucketsDir = join(layout.bucketsDir, id);
    this.bucketsCgroup = `${this.cgroup}.buckets`;
  }

  get rootfs(): string {
    return join(this.dir, 'rootfs');
  }

  /** Short names for what its root filesystem is mounted of, since the mount options must fit a page. */
  get linksDir(): string {
    return join(this.dir, 'l');
  }

  /** Mounted read-only at `GUEST_RUN_DIR`; only root may enter, so only root in the sandbox can pose as the agent. */
  get socketDir(): string {
    return join(this.dir, 's');
  }

  get socket(): string {
    return join(this.socketDir, 'agent.sock');
  }

  get record(): string {
    return join(this.dir, 'instance.json');
  }

  /** Where its memory lies in plain while it is written or read for an encrypted checkpoint. */
  get plainMemory(): string {
    return join(this.dir, 'memory');
  }

  get runtimeLog(): string {
    return join(this.dir, 'runtime.log');
  }

  get pidFile(): string {
    return join(this.dir, 'pid');
  }

  get upper(): string {
    return join(this.diskDir, 'upper');
  }

  get work(): string {
    return join(this.diskDir, 'work');
  }

  /** What it may write of what was mounted for it. */
  get scratchDir(): string {
    return join(this.diskDir, 'scratch');
  }

  /** A layer of the mount points that its devices need. */
  get devicePoints(): string {
    return join(this.dir, 'devices');
  }

  /** Its `/dev`, where its users are its own. */
  get devDir(): string {
    return join(this.dir, 'dev');
  }

  /** What the programs of its buckets keep of files: a part of all that it writes. */
  get bucketsCacheDir(): string {
    return join(this.diskDir, 'buckets');
  }

  get etcDir(): string {
    return join(this.diskDir, 'etc');
  }

  /** All that it writes, as it is with the ids of its user namespace, if it has one. */
  get mappedDisk(): string {
    return join(this.dir, 'disk');
  }

  /** A mount of its caller's with these ids. */
  mappedMount(number: number): string {
    return join(this.dir, 'mounts', String(number));
  }
}
