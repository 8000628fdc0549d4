/**
 * A small stand-in for the domain: sandboxes whose processes are real ones of this machine, in a temporary directory, without any isolation. Only for
 * tests of the REST interface; what a real sandbox adds is tested in e2e/.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { App, Apps } from '../../../apps/apps.ts';
import { GUEST_FS_TOOLS } from '../../../engines/paths.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import {
  type AppId,
  type EnvironmentId,
  type ImageId,
  newImageId,
  newSandboxId,
  newTaskId,
  type ProcessId,
  type SandboxId,
} from '../../../ids.ts';
import { emptyImageConfig, type Image, type Images } from '../../../images/image.ts';
import type {
  OutputReader,
  Process,
  Sandbox,
  Sandboxes,
  SandboxFilter,
} from '../../../sandboxes/sandboxes.ts';
import type { ExecSpec, SandboxSpec } from '../../../sandboxes/spec.ts';
import type { ProcessExit, SandboxResult, SandboxState } from '../../../sandboxes/state.ts';
import type { ModboxAuth } from '../caller.ts';

const unused = (): never => {
  throw new Error('the Modbox API is not expected to call this');
};

class FakeOutput implements OutputReader {
  #bytes = Buffer.alloc(0);
  ended = false;
  readonly #changed = new EventEmitter().setMaxListeners(0);

  get length(): number {
    return this.#bytes.length;
  }

  add(chunk: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    this.#changed.emit('change');
  }

  end(): void {
    this.ended = true;
    this.#changed.emit('change');
  }

  async *read(offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    for (let at = offset; ; ) {
      signal.throwIfAborted();
      if (at < this.#bytes.length) {
        const chunk = this.#bytes.subarray(at, at + (256 << 10));
        at += chunk.length;
        yield chunk;
      } else if (this.ended) return;
      else {
        await once(this.#changed, 'change', { signal }).catch((error: unknown) => {
          throw signal.aborted ? signal.reason : error;
        });
      }
    }
  }
}

class FakeProcess implements Process {
  readonly id: ProcessId;
  readonly taskId = newTaskId();
  readonly argv: readonly string[];
  readonly createdAtMs = Date.now();
  readonly stdout = new FakeOutput();
  readonly stderr = new FakeOutput();
  exit: ProcessExit | undefined;
  readonly exited = Promise.withResolvers<ProcessExit>();
  input = Buffer.alloc(0);
  child: ChildProcess | undefined;
  #closed = false;
  onStdinEnd = () => {};

  constructor(id: ProcessId, argv: readonly string[]) {
    this.id = id;
    this.argv = argv;
  }

  finish(exit: ProcessExit): void {
    this.exit ??= exit;
    this.exited.resolve(this.exit);
  }

  async wait(signal: AbortSignal): Promise<ProcessExit> {
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    return Promise.race([this.exited.promise, aborted]);
  }

  async writeStdin(offset: number, data: Uint8Array): Promise<void> {
    if (this.exit) throw new SkerryError('stdin-closed', 'The process no longer reads its input.');
    if (offset !== this.input.length) throw new SkerryError('invalid-argument', 'gap');
    this.input = Buffer.concat([this.input, data]);
    this.child?.stdin?.write(data);
  }

  async closeStdin(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.child?.stdin?.end();
    this.onStdinEnd();
  }

  async stdinStatus() {
    return { accepted: this.input.length, closed: this.#closed };
  }

  async kill(signal: number): Promise<void> {
    if (this.exit) return;
    if (this.child?.pid === undefined) return this.finish({ kind: 'signal', signal, timedOut: false });
    try {
      process.kill(-this.child.pid, signal);
    } catch {
      // already gone
    }
  }

  async resize(): Promise<void> {
    throw new SkerryError('conflict', 'It has no terminal.');
  }
}

export class FakeSandbox implements Sandbox {
  readonly id: SandboxId = newSandboxId();
  readonly taskId = newTaskId();
  readonly spec: SandboxSpec;
  readonly name = undefined;
  readonly tags: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly startedAtMs = undefined;
  endedAtMs: number | undefined;
  readonly readyAtMs = undefined;
  readonly deadlineMs: number;
  state: SandboxState = 'running';
  result: SandboxResult | undefined;
  readonly entrypoint = undefined;
  readonly stdout = new FakeOutput();
  readonly stderr = new FakeOutput();
  /** Where the fake file helper reads and writes. */
  readonly root: string;
  /** How many callers hold it right now. */
  holds = 0;
  /** Set to make it look as if it were starting. */
  running: Promise<void> = Promise.resolve();
  readonly #processes = new Map<ProcessId, FakeProcess>();
  readonly #missing: ReadonlySet<string>;

  get isolation() {
    return this.state === 'ended' ? undefined : 'gvisor';
  }

  constructor(spec: SandboxSpec, root: string, createdAtMs: number, missing: ReadonlySet<string>) {
    this.spec = spec;
    this.tags = spec.tags;
    this.root = root;
    this.createdAtMs = createdAtMs;
    this.deadlineMs = createdAtMs + spec.timeoutMs;
    this.#missing = missing;
    mkdirSync(root, { recursive: true });
  }

  waitUntilRunning(): Promise<void> {
    return this.running;
  }

  async wait(): Promise<SandboxResult | undefined> {
    return this.result;
  }

  async waitUntilReady(): Promise<number> {
    throw new SkerryError('conflict', 'no probe');
  }

  async exec(id: ProcessId, spec: ExecSpec): Promise<Process> {
    const [program = '', ...args] = spec.argv;
    if (this.#missing.has(program)) {
      throw new SkerryError('program-not-found', `${program}: no such program`);
    }
    if (spec.workdir?.startsWith('/missing')) {
      throw new SkerryError('bad-workdir', `${spec.workdir}: no such directory`);
    }
    const process = new FakeProcess(id, spec.argv);
    this.#processes.set(id, process);
    if (program === GUEST_FS_TOOLS) this.#helper(process, args[0] ?? '');
    else await this.#spawn(process, program, args, spec);
    return process;
  }

  process(id: ProcessId): Process {
    const process = this.#processes.get(id);
    if (!process) throw new SkerryError('not-found', 'no such process');
    return process;
  }

  processes(): readonly Process[] {
    return [...this.#processes.values()];
  }

  async terminate(): Promise<void> {
    await this.end({ kind: 'terminated' });
  }

  /** Ends it as a deadline, the kernel or a caller would. */
  async end(result: SandboxResult): Promise<void> {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.result = result;
    this.endedAtMs = Date.now();
    for (const process of this.#processes.values()) await process.kill(9);
    rmSync(this.root, { recursive: true, force: true });
  }

  setName(): void {}
  setTags(): void {}
  async setNetworkPolicy(): Promise<void> {}
  snapshotFilesystem = unused;
  events() {
    return [];
  }
  logVerbose(): void {}
  touch(): void {}

  hold(): () => void {
    this.holds++;
    return () => {
      this.holds--;
    };
  }

  async #spawn(process: FakeProcess, program: string, args: string[], spec: ExecSpec): Promise<void> {
    const env = Object.assign(
      // Bash would read ~/.bashrc here: Node's pipes are sockets.
      { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: this.root },
      ...[...this.spec.secretSources, ...spec.secretSources].map((source) =>
        source.kind === 'inline' ? source.env : {},
      ),
    ) as Record<string, string>;
    const child = spawn(program, args, { cwd: spec.workdir ?? this.root, env, detached: true });
    process.child = child;
    child.stdin.on('error', () => {});
    child.stdout.on('data', (chunk: Buffer) => process.stdout.add(chunk));
    child.stderr.on('data', (chunk: Buffer) => process.stderr.add(chunk));
    child.stdout.on('close', () => process.stdout.end());
    child.stderr.on('close', () => process.stderr.end());
    let timedOut = false;
    const timer =
      spec.timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            void process.kill(9);
          }, spec.timeoutMs);
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (signal) process.finish({ kind: 'signal', signal: signal === 'SIGKILL' ? 9 : 15, timedOut });
      else process.finish({ kind: 'code', code: code ?? 0, timedOut });
    });
    await once(child, 'spawn');
  }

  /** The four commands of the file helper that the API uses, on the temporary directory. */
  #helper(process: FakeProcess, json: string): void {
    const [command = '', { path, recursive = false }] = Object.entries(
      JSON.parse(json) as Record<string, { path: string; recursive?: boolean }>,
    )[0] ?? ['', { path: '' }];
    const at = join(this.root, path);
    const run = (work: () => void) => {
      let code = 0;
      try {
        work();
      } catch (error) {
        const kinds: Record<string, string> = {
          ENOENT: 'NotFound',
          EISDIR: 'IsDirectory',
          ENOTDIR: 'NotDirectory',
          ENOTEMPTY: 'DirectoryNotEmpty',
          ERR_FS_EISDIR: 'IsDirectory',
        };
        const { code: kind = '', message } = error as NodeJS.ErrnoException;
        process.stderr.add(Buffer.from(JSON.stringify({ error_kind: kinds[kind] ?? 'Other', message })));
        code = 1;
      }
      process.stdout.end();
      process.stderr.end();
      process.finish({ kind: 'code', code, timedOut: false });
    };
    if (command === 'WriteFile') {
      process.onStdinEnd = () =>
        run(() => {
          mkdirSync(dirname(at), { recursive: true });
          writeFileSync(at, process.input);
        });
    } else if (command === 'ReadFile') run(() => process.stdout.add(readFileSync(at)));
    else if (command === 'Remove') run(() => rmSync(at, { recursive }));
    else run(() => process.stdout.add(Buffer.from(JSON.stringify(list(at, path)))));
  }
}

const list = (at: string, path: string) =>
  readdirSync(at, { withFileTypes: true }).map((entry) => {
    const { size, mtimeMs } = statSync(join(at, entry.name));
    return {
      name: basename(entry.name),
      path: join(path, entry.name),
      type: entry.isDirectory() ? 'directory' : 'file',
      size,
      mode: 0o644,
      permissions: '0644',
      owner: 'root',
      group: 'root',
      modified_time: mtimeMs / 1000,
      symlink_target: null,
    };
  });

export class FakeSandboxes implements Sandboxes {
  readonly all: FakeSandbox[] = [];
  /** Programs the fake image lacks. */
  readonly missing = new Set<string>();
  /** Running sandboxes there is room for. */
  maxRunning = 1000;
  readonly #directory: string;
  #lastCreatedMs = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async create(spec: SandboxSpec): Promise<FakeSandbox> {
    if (this.all.filter((sandbox) => sandbox.state !== 'ended').length >= this.maxRunning) {
      throw new SkerryError('resource-exhausted', `${this.maxRunning} sandboxes run already.`);
    }
    this.#lastCreatedMs = Math.max(Date.now(), this.#lastCreatedMs + 1);
    const root = join(this.#directory, String(this.#lastCreatedMs));
    const sandbox = new FakeSandbox(spec, root, this.#lastCreatedMs, this.missing);
    this.all.push(sandbox);
    return sandbox;
  }

  get(id: SandboxId): FakeSandbox {
    const sandbox = this.all.find((candidate) => candidate.id === id);
    if (!sandbox) throw new SkerryError('not-found', `There is no sandbox ${id}.`);
    return sandbox;
  }

  getByTask(): Sandbox {
    throw new SkerryError('not-found', 'not in this fake');
  }

  findByName(): undefined {}

  findByExternalKey(key: string): FakeSandbox | undefined {
    return this.all.find((sandbox) => sandbox.spec.externalKey === key && sandbox.state !== 'ended');
  }

  list(filter: SandboxFilter): readonly FakeSandbox[] {
    const { tags = {}, includeEnded = false, beforeMs = Number.POSITIVE_INFINITY, limit } = filter;
    return this.all
      .filter((sandbox) => includeEnded || sandbox.state !== 'ended')
      .filter((sandbox) => sandbox.createdAtMs < beforeMs)
      .filter((sandbox) => Object.entries(tags).every(([key, value]) => sandbox.tags[key] === value))
      .toReversed()
      .slice(0, limit);
  }
}

/** The API token is `id:secret`, `SANDBOX_API_KEY` is `key-for-all`, a sandbox's own key `key-of-<sandbox id>`. */
export const fakeAuth: ModboxAuth = {
  verify(tokenId, tokenSecret) {
    if (tokenId !== 'id' || tokenSecret !== 'secret') throw new SkerryError('unauthenticated', 'wrong token');
    return tokenId;
  },
  verifyApiKey: (key) => key === 'key-for-all',
  sandboxOfKey: (key) => /^key-of-(sb-\w{26})$/.exec(key)?.[1] as SandboxId | undefined,
  sandboxKey: (id) => `key-of-${id}`,
  apiKeyForToken: () => 'key-for-all',
};

export function fakeApps(): Apps {
  const app: App = {
    id: 'ap-0000000000000000000000' as AppId,
    environmentId: 'en-0000000000000000000000' as EnvironmentId,
    environmentName: 'main',
    name: 'modbox',
    description: '',
    state: 'deployed',
    tags: {},
    createdAtMs: 0,
    stoppedAtMs: undefined,
  };
  return {
    environment: unused,
    environments: unused,
    createEnvironment: unused,
    updateEnvironment: unused,
    deleteEnvironment: unused,
    lookup: () => app,
    get: unused,
    find: () => app,
    createEphemeral: unused,
    setState: unused,
    setTags: unused,
    heartbeat: unused,
    unheardSince: unused,
    list: unused,
  };
}

/** Images by reference: `gone:*` does not exist, `slow:*` never arrives, all else does. Builds succeed unless `failing` matches the Dockerfile. */
export class FakeImages implements Images {
  readonly #byKey = new Map<string, Image>();
  readonly #names = new Map<string, ImageId>();
  readonly layerDirectory: string;
  builds = 0;
  failing = /^$/;

  constructor(layerDirectory: string) {
    this.layerDirectory = layerDirectory;
  }

  image(key: string): Image {
    let image = this.#byKey.get(key);
    if (!image) {
      image = { id: newImageId(), layers: [], config: emptyImageConfig, builderVersion: '', createdAtMs: 0 };
      this.#byKey.set(key, image);
    }
    return image;
  }

  async fromReference(reference: string, signal: AbortSignal): Promise<Image> {
    if (reference.startsWith('gone:')) throw new SkerryError('not-found', `${reference}: no such image`);
    if (reference.startsWith('slow:')) await once(signal, 'abort');
    return this.image(reference);
  }

  getUsed(id: ImageId): Image {
    return this.get(id);
  }

  get(id: ImageId): Image {
    const image = [...this.#byKey.values()].find((candidate) => candidate.id === id);
    if (!image) throw new SkerryError('not-found', `There is no image ${id}.`);
    return image;
  }

  async getOrBuild(definition: Parameters<Images['getOrBuild']>[0]) {
    this.builds++;
    const text = definition.dockerfileLines.join('\n');
    const image = this.image(text);
    return this.failing.test(text)
      ? { id: image.id, result: { kind: 'failure', message: 'no such base' } as const }
      : { id: image.id, result: { kind: 'success' } as const };
  }

  async *follow(): ReturnType<Images['follow']> {
    yield { kind: 'result', result: { kind: 'failure', message: 'no such base' } };
  }

  layerDirectories(): readonly string[] {
    return [this.layerDirectory];
  }

  publish(id: ImageId, name: string): void {
    this.#names.set(name, id);
  }

  getByName(name: string): ImageId {
    const id = this.#names.get(name);
    if (!id) throw new SkerryError('not-found', `There is no image ${name}.`);
    return id;
  }

  addLayer = unused;
  delete = unused;
  unpublish = unused;
  names = unused;
  async close(): Promise<void> {}
}
