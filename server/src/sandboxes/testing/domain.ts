/**
 * The real domain for tests: sandboxes, processes, images, apps, secrets, blobs and the SQLite store in a temporary directory, over the fake engine. The
 * APIs' tests serve it, the domain's own call it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentBinaryPath, treesBinaryPath } from '../../agent/agent-binary.ts';
import { AppService } from '../../apps/app-service.ts';
import { FileBlobStore } from '../../blobs/blob-store.ts';
import { MountService } from '../../blobs/mount-service.ts';
import type { Device } from '../../engines/engine.ts';
import { able, FakeEngine } from '../../engines/testing/fake-engine.ts';
import type { FakeInstance } from '../../engines/testing/fake-instance.ts';
import type { Held } from '../../engines/testing/faults.ts';
import type { AppId, EnvironmentId, InstanceId, ProcessId } from '../../ids.ts';
import { newProcessId } from '../../ids.ts';
import { ImagePlaces } from '../../images/image-places.ts';
import { ImageService } from '../../images/image-service.ts';
import { TEST_IMAGE_CONFIG } from '../../images/testing/images.ts';
import { InstanceService } from '../../instances/instance-service.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { type FaultPoint, noFaultPoint } from '../../platform/fault-points.ts';
import { unmountBelow } from '../../platform/mounts.ts';
import { delay } from '../../platform/wait.ts';
import { SecretService } from '../../secrets/secret-service.ts';
import { type AesVault, openVault } from '../../secrets/vault.ts';
import type { Store } from '../../store/store.ts';
import { onPostgres, openTestStore } from '../../store/testing/open-test-store.ts';
import { createLogger, type Logger } from '../../telemetry/logger.ts';
import { type OpenVolumes, openVolumes } from '../../volumes/open-volumes.ts';
import { SandboxContent } from '../content-places.ts';
import type { Keepers } from '../keepers.ts';
import { checkpointsDir } from '../memory-snapshots.ts';
import { SandboxService, type SandboxServiceOptions } from '../sandbox-service.ts';
import type { OutputReader, Process, Sandbox } from '../sandboxes.ts';
import type { ExecSpec, SandboxSpec } from '../spec.ts';
import { addBaseImage, BASE_IMAGE } from './test-images.ts';

/** No test waits longer for anything. */
export const TEST_DEADLINE_MS = 60_000;
export const deadline = (): AbortSignal => AbortSignal.timeout(TEST_DEADLINE_MS);

/** Before what could not be destroyed is tried again. */
const REAPER_PAUSE_MS = 2;
export const TEST_ENVIRONMENT = 'en-test' as EnvironmentId;
export const TEST_APP = 'ap-test' as AppId;

type TestConfig = SandboxServiceOptions['config'];

export interface DomainOptions {
  readonly config?: Partial<TestConfig>;
  /** Those of the machine. */
  readonly gpus?: readonly Device[];
  readonly now?: () => number;
  /** For `restart`: something that is to be held up in the next server from the first moment on. */
  readonly beforeRecovery?: (domain: Domain) => Held | undefined;
  /** Another than before is a reboot of the machine. */
  readonly bootId?: string;
  /** How many may wait for somebody; 0 by default. */
  readonly warmPool?: number;
  /** Is called at each fault point. */
  readonly faultPoint?: FaultPoint;
  /** Whether checkpoints can be made, from which programs begin anew. */
  readonly checkpoints?: boolean;
  readonly quotasOf?: SandboxServiceOptions['quotasOf'];
  readonly environments?: SandboxServiceOptions['environments'];
  /** As one of several servers. */
  readonly keepers?: Keepers;
}

type Parts = Pick<
  Domain,
  | 'root'
  | 'dataDir'
  | 'store'
  | 'vault'
  | 'log'
  | 'logger'
  | 'engine'
  | 'instances'
  | 'manager'
  | 'apps'
  | 'secrets'
  | 'blobs'
  | 'mounts'
  | 'images'
  | 'volumes'
  | 'volumeFiles'
  | 'volumeMounts'
> & { readonly cleanup: Cleanup; readonly options: DomainOptions };

export class Domain implements AsyncDisposable {
  readonly root: string;
  readonly engine: FakeEngine;
  readonly instances: InstanceService;
  readonly manager: SandboxService;
  readonly store: Store;
  readonly vault: AesVault;
  readonly apps: AppService;
  readonly secrets: SecretService;
  readonly blobs: FileBlobStore;
  readonly mounts: MountService;
  readonly images: ImageService;
  readonly volumes: OpenVolumes['volumes'];
  readonly volumeFiles: OpenVolumes['volumeFiles'];
  readonly volumeMounts: OpenVolumes['volumeMounts'];
  readonly dataDir: string;
  readonly logger: Logger;
  /** Lines the domain logged, parsed. */
  readonly log: readonly Record<string, unknown>[];
  readonly #cleanup: Cleanup;
  readonly #options: DomainOptions;
  /** A later server has the directory now, and removes it. */
  #handedOn = false;
  /** What `beforeRecovery` gave. */
  held: Held | undefined;

  /** A new server with nothing in it but one image of busybox. */
  static async open(options: DomainOptions = {}): Promise<Domain> {
    const root = await mkdtemp(join(tmpdir(), 'skerry-domain-'));
    return Domain.over(root, options);
  }

  /** A server over what an earlier one left in `root`, before it recovers. */
  static async over(root: string, options: DomainOptions = {}): Promise<Domain> {
    const dataDir = join(root, 'data');
    const cleanup = new Cleanup();
    const log: Record<string, unknown>[] = [];
    const logger = createLogger('debug', { write: (line) => void log.push(JSON.parse(line)) });
    const now = options.now ?? Date.now;
    const store = openTestStore(dataDir);
    cleanup.add('store', () => store.close());
    const vault = openVault(dataDir, undefined);
    const { runtime = 'runc' } = options.config ?? {};
    const mountDir = join(root, 'v');
    const content = new SandboxContent(ImagePlaces.in(dataDir), mountDir, checkpointsDir(dataDir));
    const { faultPoint = noFaultPoint, warmPool = 0 } = options;
    const engine = new FakeEngine(join(root, 'e'), agentBinaryPath(), content, {
      usual: runtime === 'auto' ? 'runc' : runtime,
      gpus: options.gpus ?? [],
      faultPoint,
      capabilities: { ...able, checkpoints: options.checkpoints ?? false },
    });
    await engine.open();
    cleanup.add('engine', () => engine.close());
    const instances = new InstanceService({
      ...{ engine, logger, firstPauseMs: REAPER_PAUSE_MS, faultPoint, warmPool },
    });
    cleanup.add('instances', () => instances.close());
    const blobs = new FileBlobStore(join(dataDir, 'blobs'), vault.deriveKey('blob-urls'), logger, now);
    const secrets = new SecretService(store.secrets, vault, now);
    const mounts = new MountService(store.mounts, blobs, now);
    const { volumes, volumeFiles, volumeMounts } = openVolumes({
      ...{ dataDir, mountDir, store, blobs, logger, now, faultPoint },
      treesBinary: treesBinaryPath(),
      ticketKey: vault.deriveKey('volume-urls'),
    });
    cleanup.add('volumes', () => volumeMounts.close());
    const images = new ImageService({
      repository: store.images,
      uses: store.imageUses,
      holdFiles: (files) => blobs.hold(files),
      instances,
      volumes: volumeMounts,
      dataDir,
      treesBinaryPath: treesBinaryPath(),
      config: TEST_IMAGE_CONFIG,
      caEnvironment: {},
      logger,
      clock: now,
    });
    cleanup.add('images', () => images.close());
    await addBaseImage(store.images, images, dataDir);
    const manager = new SandboxService({
      store,
      instances,
      images,
      volumes: volumeMounts,
      secrets,
      vault,
      mounts,
      blobs,
      dataDir,
      config: {
        runtime,
        maxSandboxes: 100,
        maxStarting: 8,
        defaultMemoryMiB: 64,
        defaultMilliCpu: 1000,
        defaultPids: 100,
        ...{ defaultDiskMiB: 64, defaultDiskFiles: 4096, maxDiskMiB: 128 },
        maxOutputMiB: 16,
        keepOutputHours: 1,
        stopGraceSeconds: 30,
        idleAction: 'end',
        ...options.config,
      },
      caEnvironment: {},
      headerEnvironment: { SSL_CERT_FILE: '/headers.pem' },
      logger,
      now,
      bootId: options.bootId ?? 'boot-1',
      faultPoint,
      ...(options.quotasOf && { quotasOf: options.quotasOf }),
      ...(options.environments && { environments: options.environments }),
      keepers: options.keepers,
    });
    cleanup.add('sandboxes', () => manager.close());
    const apps = new AppService(store, now);
    const files = { root, dataDir, store, vault, log, logger };
    const parts = { apps, secrets, blobs, mounts, images, volumes, volumeFiles, volumeMounts };
    const services = { engine, instances, manager, ...parts };
    return new Domain({ ...files, ...services, cleanup, options });
  }

  private constructor(parts: Parts) {
    this.root = parts.root;
    this.dataDir = parts.dataDir;
    this.store = parts.store;
    this.vault = parts.vault;
    this.log = parts.log;
    this.logger = parts.logger;
    this.engine = parts.engine;
    this.instances = parts.instances;
    this.manager = parts.manager;
    this.apps = parts.apps;
    this.secrets = parts.secrets;
    this.blobs = parts.blobs;
    this.mounts = parts.mounts;
    this.images = parts.images;
    this.volumes = parts.volumes;
    this.volumeFiles = parts.volumeFiles;
    this.volumeMounts = parts.volumeMounts;
    this.#cleanup = parts.cleanup;
    this.#options = parts.options;
  }

  /** Runs `sleep` until somebody ends it, unless `args` say otherwise. */
  spec(more: Partial<SandboxSpec> = {}): SandboxSpec {
    return {
      appId: TEST_APP,
      environmentId: TEST_ENVIRONMENT,
      imageId: BASE_IMAGE,
      name: undefined,
      tags: {},
      args: ['sleep', '1000'],
      secretSources: [],
      workdir: undefined,
      timeoutMs: 3_600_000,
      idleTimeoutMs: undefined,
      resources: { memoryMiB: 0, memoryLimitMiB: 0, milliCpu: 0, milliCpuLimit: 0 },
      network: { kind: 'open' },
      runtime: undefined,
      pty: undefined,
      verbose: false,
      readinessProbe: undefined,
      mountIds: [],
      volumes: [],
      externalKey: undefined,
      ...more,
    };
  }

  create(more: Partial<SandboxSpec> = {}): Promise<Sandbox> {
    return this.manager.create(this.spec(more));
  }

  /** One that runs. */
  async running(more: Partial<SandboxSpec> = {}): Promise<Sandbox> {
    const sandbox = await this.create(more);
    await sandbox.waitUntilRunning(deadline());
    return sandbox;
  }

  /** What it runs in, as the store has it. @throws when it runs in nothing */
  instanceId({ taskId }: Pick<Sandbox, 'taskId'>): InstanceId {
    const id = this.store.sandboxes.getByTask(taskId)?.instance;
    if (!id) throw new Error(`${taskId} runs in nothing`);
    return id;
  }

  /** Its instance. @throws when it has none */
  instance(sandbox: Pick<Sandbox, 'taskId'>): FakeInstance {
    const instance = this.engine.instances.get(this.instanceId(sandbox));
    if (!instance) throw new Error(`${sandbox.taskId} has no instance`);
    return instance;
  }

  /** The row's state, as another server would find it. */
  storedState(sandbox: Pick<Sandbox, 'id'>): string {
    return String(
      this.store.database.prepare('SELECT state FROM sandboxes WHERE id = ?').get(sandbox.id)?.state,
    );
  }

  /** The store takes nothing any more, as on a full disk, until it is called with false. */
  refuseWrites(refuse: boolean): void {
    const setting = onPostgres ? 'SET default_transaction_read_only' : 'PRAGMA query_only';
    this.store.database.exec(`${setting} = ${refuse ? 'ON' : 'OFF'}`);
  }

  /** Lets go of everything like a server that shuts down, and starts the next one, which has recovered then. */
  async restart(options: DomainOptions = {}): Promise<Domain> {
    await this.#cleanup.run();
    this.#handedOn = true;
    const next = await Domain.over(this.root, { ...this.#options, ...options });
    next.held = options.beforeRecovery?.(next);
    await next.manager.recover();
    return next;
  }

  /** Ends everything and removes the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#handedOn) return;
    await this.#cleanup.run();
    const last = new FakeEngine(join(this.root, 'e'), agentBinaryPath(), ImagePlaces.in(this.dataDir));
    await last.open();
    await last.adopt(new Set());
    await unmountBelow(join(this.root, 'v'));
    await rm(this.root, { recursive: true, force: true });
  }
}

/** An exec with everything piped. */
export const execSpec = (argv: readonly string[], more: Partial<ExecSpec> = {}): ExecSpec => ({
  argv,
  secretSources: [],
  workdir: undefined,
  timeoutMs: undefined,
  pty: undefined,
  stdout: 'pipe',
  stderr: 'pipe',
  ...more,
});

export const exec = (
  sandbox: Pick<Sandbox, 'exec'>,
  argv: readonly string[],
  more: Partial<ExecSpec> = {},
  id: ProcessId = newProcessId(),
): Promise<Process> => sandbox.exec(id, execSpec(argv, more), deadline());

/** Everything of a stream, to its end. */
export async function text(reader: OutputReader, offset = 0): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of reader.read(offset, deadline())) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** What a program prints, once it printed and ended. */
export async function output(sandbox: Pick<Sandbox, 'exec'>, argv: readonly string[]): Promise<string> {
  return text((await exec(sandbox, argv)).stdout);
}

/** Resolves once the stream has that many bytes. */
export async function atLeast(reader: OutputReader, bytes: number): Promise<void> {
  let have = 0;
  for await (const chunk of reader.read(0, deadline())) {
    have += chunk.length;
    if (have >= bytes) return;
  }
  throw new Error(`the stream ended after ${have} of ${bytes} bytes`);
}

/** Polls until it holds: for what has no event to wait for. @throws when it never does */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  const signal = deadline();
  while (!(await holds())) await delay(5, signal);
}
