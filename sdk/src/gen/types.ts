/** Generated from the schemas of the server by scripts/generate-types.ts; not to be edited. */

export interface VolumeMount {
  name: string;
  /**
   * Default: false.
   */
  readOnly?: boolean;
  /**
   * A directory of the volume, which is made when it is missing. Default: all of it.
   */
  subPath?: string;
}
/**
 * A port to open to the outside.
 */
export interface PortRequest {
  port: number;
  /**
   * Clients may agree on HTTP/2, which the program speaks without TLS. Default: false.
   */
  http2?: boolean;
  /**
   * Also without TLS. Default: false.
   */
  plain?: boolean;
}
/**
 * A program to run, by its arguments or as a command of a shell.
 */
export interface CommandRequest {
  /**
   * Run by bash where the image has it, else by /bin/sh.
   */
  command?: string;
  /**
   * Program and arguments, without a shell: nothing needs quoting.
   *
   * @minItems 1
   * @maxItems 4096
   */
  argv?: string[];
  cwd?: string;
  /**
   * Added to the sandbox's. At most 256 variables of 32768 bytes, 524288 bytes in all.
   */
  env: {
    [k: string]: string;
  };
  /**
   * Text for standard input. Without it, input is at its end.
   */
  stdin?: string;
  /**
   * Then the command and everything it started is killed.
   */
  timeoutMs?: number;
}
/**
 * The signal to send.
 */
export interface KillRequest {
  /**
   * Sent to the process, its group and everything it started.
   */
  signal?: 'SIGHUP' | 'SIGINT' | 'SIGQUIT' | 'SIGKILL' | 'SIGUSR1' | 'SIGUSR2' | 'SIGTERM';
}
/**
 * A file that was written, and its bytes.
 */
export interface FileWritten {
  path: string;
  size: number;
}
/**
 * Volumes that show now what others wrote.
 */
export interface VolumesReloaded {
  /**
   * Where they are mounted.
   */
  volumes: string[];
}
/**
 * A port of a sandbox that is open to the outside.
 */
export interface Tunnel {
  /**
   * In the sandbox.
   */
  port: number;
  /**
   * With TLS. The same as long as it runs.
   */
  url: string;
  /**
   * Without TLS, where that was asked for.
   */
  plain: {
    host: string;
    port: number;
  } | null;
}
/**
 * The open ports of a sandbox.
 */
export interface TunnelList {
  tunnels: Tunnel[];
}
/**
 * The port that a token is to open.
 */
export interface ConnectTokenRequest {
  /**
   * In the sandbox.
   */
  port?: number;
  /**
   * What the program is told in X-Verified-User-Data: a text, or an object as JSON. No secret.
   */
  userMetadata?:
    | string
    | {
        [k: string]: unknown;
      };
}
/**
 * A URL, and the token with which HTTP to it reaches a port of a sandbox.
 */
export interface ConnectToken {
  /**
   * The same for a port as long as the sandbox lives.
   */
  url: string;
  /**
   * Bearer token, or _modal_connect_token in the query or as a cookie.
   */
  token: string;
  expiresInSeconds: number;
}
/**
 * What was deleted.
 */
export interface FileDeleted {
  path: string;
}
/**
 * Something in a directory.
 */
export interface FileEntry {
  name: string;
  path: string;
  type: 'file' | 'directory' | 'symlink';
  size: number;
  permissions: string;
  owner: string;
  group: string;
  /**
   * UTC, ISO 8601.
   */
  modifiedAt: string;
  symlinkTarget: string | null;
}
/**
 * What is directly in a directory.
 */
export interface FileList {
  path: string;
  /**
   * By name.
   */
  entries: FileEntry[];
}
/**
 * What every answer holds that is none of success.
 */
export interface ErrorAnswer {
  error: {
    /**
     * Stable, for programs.
     */
    code: string;
    message: string;
    /**
     * What to do next.
     */
    suggestion: string;
    /**
     * True when the same request may succeed later; see Retry-After.
     */
    retryable: boolean;
    /**
     * The field at fault.
     */
    path?: string;
    /**
     * Of a 409: the fields that differ from the running sandbox.
     */
    differs?: string[];
    /**
     * Of a sandbox that ended: why.
     */
    reason?:
      'exited' | 'terminated' | 'timeout' | 'idle-timeout' | 'out-of-memory' | 'start-failed' | 'crashed';
  };
}
/**
 * Of a terminal, in characters.
 */
export interface TerminalSize {
  rows: number;
  cols: number;
}
/**
 * What a sandbox is to be.
 */
export interface SandboxCreate {
  /**
   * An image id (im-…), a published name, or a registry reference such as python:3.12-slim. Default: the code-interpreter image.
   */
  image?: string;
  /**
   * Unique among the running sandboxes of its app.
   */
  name?: string;
  /**
   * What sandboxes are grouped under; made when missing.
   */
  app?: string;
  tags?: {
    [k: string]: string;
  };
  /**
   * Its main program: the sandbox ends with it. The image's ENTRYPOINT comes before it. Default: none, it stays until its time is over.
   *
   * @minItems 1
   * @maxItems 4096
   */
  command?: string[];
  pty?: TerminalSize;
  /**
   * Environment of every process. Encrypted at rest, never logged. At most 256 variables of 32768 bytes, 524288 bytes in all.
   */
  env?: {
    [k: string]: string;
  };
  /**
   * Names of stored secrets, whose variables are added.
   *
   * @maxItems 64
   */
  secrets?: string[];
  /**
   * It ends so long after its start, no matter what.
   */
  timeoutSeconds?: number;
  /**
   * It also ends when nothing happens in it for so long.
   */
  idleTimeoutSeconds?: number;
  /**
   * What becomes of it then. suspend: it is kept on the disk, with the memory of its programs, and goes on at the next call that needs it (gVisor). Default: what the server's setting says, at first end.
   */
  idleAction?: 'end' | 'suspend';
  /**
   * What keeps its programs from the machine. Default: the server's choice.
   */
  isolation?: 'gvisor' | 'runc';
  /**
   * Whole GPUs of the machine, for itself alone. Default: none.
   */
  gpu?: {
    type?: string;
    count?: number;
  };
  /**
   * Working directory of every process. Default: the image's.
   */
  workdir?: string;
  /**
   * Cores; may be a fraction.
   */
  cpu?: number;
  /**
   * Memory limit in MiB; a program over it is killed.
   */
  memoryMiB?: number;
  /**
   * Volumes by the directory where each is mounted, at most 64; one that does not exist is made. What is written there is kept however the sandbox ends.
   */
  volumes?: {
    [k: string]: string | VolumeMount;
  };
  /**
   * Ports that are open to the outside, with TLS; GET /tunnels says where.
   *
   * @maxItems 64
   */
  ports?: (number | PortRequest)[];
  /**
   * From where its ports may be reached, by tunnels and with connect tokens. Default: from everywhere.
   */
  inboundCidrs?: string[];
  /**
   * blocked: no outbound connections, also as access. With domains: these alone, by TLS and HTTP. Private networks and other sandboxes are out of reach in all.
   */
  network?:
    | ('open' | 'blocked')
    | {
        access: 'open' | 'blocked';
        /**
         * Tells in the log of the sandbox what it reaches, and tries to.
         */
        audit?: boolean;
      }
    | {
        /**
         * Names, names with *. before them for all below, or * for every one; at most 1000.
         *
         * @minItems 1
         * @maxItems 1000
         */
        domains: string[];
        /**
         * Tells in the log of the sandbox what it reaches, and tries to.
         */
        audit?: boolean;
      };
  /**
   * Headers that are put into what it sends to these domains by HTTPS, in the place of those that its programs send: the values never enter the sandbox.
   *
   * @maxItems 25
   */
  secretHeaders?: {
    /**
     * A name, one with *. before it for it and all below, or * for every one.
     */
    domain: string;
    /**
     * Values by the names of headers.
     */
    headers: {
      [k: string]: string;
    };
  }[];
}
/**
 * What is known of a sandbox.
 */
export interface SandboxInfo {
  id: string;
  name: string | null;
  tags: {
    [k: string]: string;
  };
  status: 'starting' | 'running' | 'suspended' | 'stopping' | 'ended';
  /**
   * How it ended; null while it has not.
   */
  result: {
    reason:
      'exited' | 'terminated' | 'timeout' | 'idle-timeout' | 'out-of-memory' | 'start-failed' | 'crashed';
    /**
     * Of its main program, where that ended it.
     */
    exitCode: number | null;
    message: string | null;
  } | null;
  /**
   * What keeps its programs from the machine; null once it ended.
   */
  isolation: ('gvisor' | 'runc' | 'runc-shared-users') | null;
  imageId: string;
  /**
   * Whether it lives for a main program.
   */
  hasCommand: boolean;
  timeoutSeconds: number;
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
  startedAt: string | null;
  endedAt: string | null;
  /**
   * When it ends at the latest; null once it ended.
   */
  expiresAt: string | null;
  /**
   * Bearer key that is good for this sandbox alone.
   */
  key: string;
}
/**
 * A part of a list of sandboxes.
 */
export interface SandboxPage {
  /**
   * Newest first.
   */
  sandboxes: SandboxInfo[];
  /**
   * Pass as cursor; null at the end.
   */
  nextCursor: string | null;
}
/**
 * A program to start.
 */
export interface ProcessStart {
  /**
   * Run by bash where the image has it, else by /bin/sh.
   */
  command?: string;
  /**
   * Program and arguments, without a shell: nothing needs quoting.
   *
   * @minItems 1
   * @maxItems 4096
   */
  argv?: string[];
  cwd?: string;
  /**
   * Added to the sandbox's. At most 256 variables of 32768 bytes, 524288 bytes in all.
   */
  env?: {
    [k: string]: string;
  };
  /**
   * Text for standard input. Without it, input is at its end.
   */
  stdin?: string;
  /**
   * Then the command and everything it started is killed.
   */
  timeoutMs?: number;
  /**
   * Chosen by the caller: the same id again is the same process, so that a call may be repeated.
   */
  id?: string;
  /**
   * Names of stored secrets, whose variables are added.
   *
   * @maxItems 64
   */
  secrets?: string[];
  pty?: TerminalSize;
  /**
   * Its input stays open after `stdin`, for POST …/stdin. Default: it is at its end.
   */
  keepStdin?: boolean;
}
/**
 * How a program ended.
 */
export interface ProcessExit {
  /**
   * 128+n when signal n ended it.
   */
  exitCode: number;
  signal: number | null;
  timedOut: boolean;
}
/**
 * A program that runs in a sandbox, or ran.
 */
export interface ProcessInfo {
  id: string;
  argv: string[];
  /**
   * UTC, ISO 8601.
   */
  startedAt: string;
  /**
   * Null while it runs.
   */
  exit: ProcessExit | null;
}
/**
 * The programs of a sandbox.
 */
export interface ProcessInfos {
  processes: ProcessInfo[];
}
/**
 * How many bytes of its input a program has been given by now.
 */
export interface StdinTaken {
  accepted: number;
}
/**
 * A directory to make.
 */
export interface DirectoryRequest {
  path: string;
  parents?: boolean;
}
/**
 * A directory that is there.
 */
export interface DirectoryMade {
  path: string;
}
/**
 * What is at a path.
 */
export interface FileStat {
  path: string;
  /**
   * Null: nothing is there.
   */
  type: ('file' | 'directory' | 'symlink') | null;
}
/**
 * What an image is to be made of.
 */
export interface SnapshotRequest {
  /**
   * Of this directory alone. Default: the whole filesystem.
   */
  path?: string;
  /**
   * How long the image lives. Default: until it is deleted.
   */
  ttlSeconds?: number;
}
/**
 * An image of the files of a sandbox.
 */
export interface SnapshotMade {
  imageId: string;
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
}
/**
 * How many copies are to be made of a sandbox.
 */
export interface ForkRequest {
  count?: number;
  /**
   * Of the copies. Default: those of the original.
   */
  tags?: {
    [k: string]: string;
  };
}
/**
 * Copies of a sandbox.
 */
export interface ForkMade {
  /**
   * The copies, all running.
   */
  sandboxes: SandboxInfo[];
}
/**
 * A sandbox as it was, with the memory of its programs.
 */
export interface CheckpointInfo {
  id: string;
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
  /**
   * UTC, ISO 8601.
   */
  expiresAt: string;
}
/**
 * The checkpoints of a sandbox.
 */
export interface CheckpointInfos {
  /**
   * Newest first.
   */
  checkpoints: CheckpointInfo[];
}
/**
 * The checkpoint at which a sandbox is to go on.
 */
export interface RollbackRequest {
  /**
   * Of a checkpoint that was taken of it.
   */
  checkpointId: string;
}
/**
 * What the sandbox is to be called that goes on from a checkpoint.
 */
export interface RestoreRequest {
  /**
   * Null: none. Default: the one of the sandbox that the checkpoint was taken of.
   */
  name?: string | null;
}
/**
 * The tags that a sandbox is to have, in the place of its own.
 */
export interface TagsRequest {
  tags: {
    [k: string]: string;
  };
}
/**
 * What a sandbox may reach from now on.
 */
export interface NetworkRequest {
  network:
    | ('open' | 'blocked')
    | {
        access: 'open' | 'blocked';
        /**
         * Tells in the log of the sandbox what it reaches, and tries to.
         */
        audit?: boolean;
      }
    | {
        /**
         * Names, names with *. before them for all below, or * for every one; at most 1000.
         *
         * @minItems 1
         * @maxItems 1000
         */
        domains: string[];
        /**
         * Tells in the log of the sandbox what it reaches, and tries to.
         */
        audit?: boolean;
      };
}
/**
 * The headers that are put into requests of a sandbox from now on.
 */
export interface SecretHeadersRequest {
  /**
   * @maxItems 25
   */
  secretHeaders: {
    /**
     * A name, one with *. before it for it and all below, or * for every one.
     */
    domain: string;
    /**
     * Values by the names of headers.
     */
    headers: {
      [k: string]: string;
    };
  }[];
}
/**
 * An image to mount in a sandbox, and where.
 */
export interface ImageMountRequest {
  path: string;
  /**
   * Default: an empty directory.
   */
  imageId?: string;
}
/**
 * Something that was noted of a sandbox.
 */
export interface SandboxEvent {
  /**
   * UTC, ISO 8601.
   */
  time: string;
  kind: 'exec' | 'file' | 'limit' | 'life' | 'network';
  text: string;
}
/**
 * What was noted of a sandbox, oldest first.
 */
export interface SandboxEvents {
  events: SandboxEvent[];
}
/**
 * A state that a sandbox came to.
 */
export interface LifeEvent {
  sandboxId: string;
  /**
   * UTC, ISO 8601.
   */
  time: string;
  /**
   * The state it has now, that there is an instance for it, or that its readiness probe succeeded.
   */
  kind: 'starting' | 'running' | 'suspended' | 'stopping' | 'ended' | 'created' | 'placed' | 'ready';
  /**
   * Why it ends, from stopping on.
   */
  reason:
    | ('exited' | 'terminated' | 'timeout' | 'idle-timeout' | 'out-of-memory' | 'start-failed' | 'crashed')
    | null;
}
/**
 * What is known of a volume.
 */
export interface VolumeInfo {
  name: string;
  id: string;
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
}
/**
 * A part of a list of volumes.
 */
export interface VolumePage {
  /**
   * Newest first.
   */
  volumes: VolumeInfo[];
  /**
   * Pass as cursor; null at the end.
   */
  nextCursor: string | null;
}
/**
 * What a volume is to be called.
 */
export interface VolumeRename {
  name: string;
}
/**
 * What is to be copied within a volume, and where to.
 */
export interface VolumeCopy {
  /**
   * @minItems 1
   * @maxItems 1000
   */
  from: string[];
  /**
   * What it is to be called, or the directory that it goes into.
   */
  to: string;
  /**
   * Directories too, with what is in them.
   */
  recursive?: boolean;
}
/**
 * A file, directory or link in a volume.
 */
export interface VolumeFile {
  /**
   * From the root of the volume on.
   */
  path: string;
  type: 'file' | 'directory' | 'symlink';
  size: number;
  /**
   * UTC, ISO 8601.
   */
  modifiedAt: string;
}
/**
 * What is in a directory of a volume.
 */
export interface VolumeFiles {
  entries: VolumeFile[];
}
/**
 * The variables of a secret, in the place of those it has.
 */
export interface SecretRequest {
  env: {
    [k: string]: string;
  };
}
/**
 * A secret, without its values.
 */
export interface SecretInfo {
  name: string;
  /**
   * Names of its variables; values are never told.
   */
  keys: string[];
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
  lastUsedAt: string | null;
}
/**
 * A part of a list of secrets.
 */
export interface SecretPage {
  /**
   * Newest first.
   */
  secrets: SecretInfo[];
  /**
   * Pass as cursor; null at the end.
   */
  nextCursor: string | null;
}
/**
 * It was done, and there is nothing to tell.
 */
export interface Nothing {}
/**
 * Through its ports, by tunnels, connect tokens and this interface: connections now, and bytes without what carries them. Since this server has the sandbox.
 */
export interface PortTraffic {
  connections: number;
  sentBytes: number;
  receivedBytes: number;
}
/**
 * What a sandbox takes of the machine.
 */
export interface Usage {
  id: string;
  memoryBytes: number;
  /**
   * Null: the server's own bound.
   */
  memoryLimitMiB: number | null;
  /**
   * Time of the processor since it started.
   */
  cpuMs: number;
  /**
   * As the machine counts them: gVisor's own are among them.
   */
  processes: number;
  /**
   * Through its own network, with all headers, since it started; not what goes through its ports. Null where that is not counted.
   */
  sentBytes: number | null;
  receivedBytes: number | null;
  ports: PortTraffic;
}
/**
 * What each running sandbox takes of the machine.
 */
export interface UsageList {
  sandboxes: Usage[];
}
/**
 * Where the time of the start of a sandbox went; null while it starts.
 */
export interface StartupInfo {
  startup: {
    /**
     * Whether it was given an instance that waited.
     */
    waited: boolean;
    ms: number;
    /**
     * Milliseconds by the names of its parts, which may go on side by side.
     */
    phases: {
      [k: string]: number;
    };
  } | null;
}
