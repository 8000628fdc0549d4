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
export interface ProvisionRequest {
  /**
   * The caller's own id, unique among running sandboxes.
   */
  taskId: string;
  /**
   * An image id (im-…), or a registry reference such as python:3.12-slim. Default: the code-interpreter image.
   */
  imageId?: string;
  /**
   * Lifetime in seconds; what it counts from is for ttlMode to say.
   */
  ttlSeconds?: number;
  /**
   * absolute: from the start, no matter what. idle: from the last activity, and at most 86400 s in all.
   */
  ttlMode?: 'absolute' | 'idle';
  /**
   * What becomes of it after ttlSeconds without activity; for ttlMode idle alone. suspend: it is kept on the disk, with the memory of its programs, and goes on at the next call that needs it (gVisor). Default: what the server's setting says, at first end.
   */
  idleAction?: 'end' | 'suspend';
  /**
   * Environment of every process. Encrypted at rest, never logged. At most 256 variables of 32768 bytes, 524288 bytes in all.
   */
  envVars?: {
    [k: string]: string;
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
export interface Sandbox {
  /**
   * The caller's id; the sandbox id where the sandbox was made without one.
   */
  taskId: string;
  sandboxId: string;
  status: 'starting' | 'running' | 'suspended' | 'stopping' | 'ended';
  /**
   * What keeps its programs from the machine: gVisor's own kernel, or runc on the machine's, with users of its own or the machine's; null once it ended.
   */
  isolation: ('gvisor' | 'runc' | 'runc-shared-users') | null;
  /**
   * Why it ended; null while it has not.
   */
  endReason:
    | ('exited' | 'terminated' | 'timeout' | 'idle-timeout' | 'out-of-memory' | 'start-failed' | 'crashed')
    | null;
  /**
   * Base of this sandbox: add /modbox/api/exec and so on.
   */
  sandboxUrl: string;
  /**
   * Bearer key that is good for this sandbox alone.
   */
  apiKey: string;
  imageId: string;
  ttlSeconds: number;
  ttlMode: 'absolute' | 'idle';
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
  /**
   * When it ends at the latest; null once it ended.
   */
  expiresAt: string | null;
}
export interface ForkRequest {
  /**
   * How many copies. Default: one, or one for each task id.
   */
  count?: number;
  /**
   * Those of the copies. Default: none; each is found by its sandbox id.
   *
   * @minItems 1
   * @maxItems 100
   */
  taskIds?: string[];
}
export interface Fork {
  /**
   * The copies, all running.
   */
  sandboxes: Sandbox[];
}
export interface Checkpoint {
  /**
   * sn-…
   */
  checkpointId: string;
  /**
   * UTC, ISO 8601.
   */
  createdAt: string;
  /**
   * UTC, ISO 8601.
   */
  expiresAt: string;
}
export interface CheckpointList {
  /**
   * Newest first.
   */
  checkpoints: Checkpoint[];
}
export interface RollbackRequest {
  /**
   * Of a checkpoint that was taken of it.
   */
  checkpointId: string;
}
export interface SandboxList {
  /**
   * Newest first.
   */
  sandboxes: Sandbox[];
  /**
   * Pass as cursor for the next page; null at the end.
   */
  nextCursor: string | null;
}
export interface DefaultImage {
  status: 'not-built' | 'building' | 'ready' | 'failed';
  imageId: string | null;
  /**
   * The Dockerfile it was made with.
   */
  builtFrom: string | null;
  languages: {
    name: string;
    version: string;
    invocation: string;
  }[];
  /**
   * Why the build failed.
   */
  message: string | null;
}
export interface ExecRequest {
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
   * Kept of each stream, from its start; what is beyond is dropped and truncated says so.
   */
  maxOutputBytes?: number;
}
export interface ExecResult {
  /**
   * 128+n when signal n ended the command.
   */
  exitCode: number;
  stdout: string;
  stderr: string;
  durationMs: number;
  /**
   * True when output beyond maxOutputBytes was dropped.
   */
  truncated: boolean;
  /**
   * True when timeoutMs passed and the command was killed.
   */
  timedOut: boolean;
}
export interface StreamEvents {
  stdout?: {
    text: string;
  };
  stderr?: {
    text: string;
  };
  exit?: {
    /**
     * 128+n when signal n ended the command.
     */
    exitCode: number;
    durationMs: number;
    /**
     * True when timeoutMs passed and the command was killed.
     */
    timedOut: boolean;
  };
  error?: {
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
  };
}
export interface Process {
  processId: string;
  argv: string[];
  status: 'running' | 'exited';
  exitCode: number | null;
  timedOut: boolean;
  /**
   * UTC, ISO 8601.
   */
  startedAt: string;
}
export interface ProcessList {
  processes: Process[];
}
export interface ProcessLogs {
  stdout: string;
  stderr: string;
  /**
   * Where to go on: pass as stdoutOffset.
   */
  stdoutOffset: number;
  stderrOffset: number;
  /**
   * True when it exited and these offsets are the end of its output.
   */
  complete: boolean;
  process: Process;
}
