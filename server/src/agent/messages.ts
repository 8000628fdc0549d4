/** The JSON of the agent protocol: what the server asks for, and what it believes of the answers. */
import { z } from 'zod';
import { type ErrorCode, SkerryError } from '../errors/skerry-error.ts';
import type { AgentExit } from './frames.ts';

/** START of `agent/PROTOCOL.md`. */
export interface StartRequest {
  /** 1 to 64 of `[A-Za-z0-9._-]`. Starting an id that exists attaches to it; a second process is never started. */
  readonly id: string;
  /** At least the program. Without a slash it is looked up in the PATH of `env`. */
  readonly argv: readonly string[];
  /** The whole environment; only a missing HOME is added. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Create `cwd` when it is missing. */
  readonly createCwd?: boolean;
  /** `name|uid[:group|gid]`; empty is root. */
  readonly user?: string;
  /** Milliseconds from the start until the process and all its descendants are killed; `null` is never. */
  readonly timeoutMs?: number | null;
  readonly stdin: 'pipe' | 'null';
  readonly stdout: 'pipe' | 'null';
  readonly stderr: 'pipe' | 'null' | 'stdout';
  /** A terminal takes the place of the three pipes; all output is stdout then. */
  readonly pty?: { readonly rows: number; readonly cols: number } | null;
}

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
/** The number of a process in its sandbox. */
export const pid = z.number().int().min(1).max(0x7fffffff);

export const startedSchema = z.object({
  pid,
  stdinAccepted: count,
  stdinClosed: z.boolean(),
  /** Agents of earlier versions do not count them. */
  signalsTaken: count.optional(),
});
export type Started = z.infer<typeof startedSchema>;

const errorSchema = z.object({ kind: z.string().max(32), message: z.string().max(4096) });

/** A process as the agent knows it; `stdout`, `stderr` and `stdinAccepted` are byte counts so far. */
export interface AgentProcessInfo {
  readonly id: string;
  readonly pid: number;
  readonly stdout: number;
  readonly stderr: number;
  readonly stdoutEof: boolean;
  readonly stderrEof: boolean;
  readonly stdinAccepted: number;
  /** `null` while it runs. */
  readonly exit: AgentExit | null;
}

export const listSchema = z.object({
  processes: z
    .array(
      z.object({
        id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
        pid,
        stdout: count,
        stderr: count,
        stdoutEof: z.boolean(),
        stderrEof: z.boolean(),
        stdinAccepted: count,
        exit: z
          .object({
            kind: z.enum(['code', 'signal']),
            value: z.number().int().min(0).max(255),
            timedOut: z.boolean(),
          })
          .nullable(),
      }),
    )
    .max(65_536),
});

/** Seconds after 1970. */
const time = z.string().regex(/^\d{1,12}\.\d{9}$/);

/** What the agent says about itself. */
export interface AgentStats {
  readonly rssKiB: number;
  /** Processes it knows, finished ones that were not released included. */
  readonly processes: number;
  readonly openFiles: number;
  /** When it began, by the clock of its sandbox's files; agents with the feature `files` say so. */
  readonly begun?: string | undefined;
  /** What its sandbox takes, where it sees the control group of that. */
  readonly usage?:
    | {
        readonly memoryBytes: number;
        readonly cpuUsageNs: number;
        readonly pids: number;
        readonly oomKills: number;
      }
    | undefined;
}

export const statsSchema = z.object({
  rssKiB: count,
  processes: count,
  openFiles: count,
  begun: time.optional(),
  usage: z.object({ memoryBytes: count, cpuUsageNs: count, pids: count, oomKills: count }).optional(),
});

export const environmentSchema = z.object({ variables: z.record(z.string(), z.string()) });

/** What each kind of ERROR (`agent/PROTOCOL.md`, `agent/src/failure.rs`) is to the caller. */
export const agentErrors: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['not-found', 'program-not-found'],
  ['not-executable', 'program-not-executable'],
  ['bad-workdir', 'bad-workdir'],
  ['bad-user', 'bad-user'],
  ['unknown-process', 'not-found'],
  ['resources', 'resource-exhausted'],
  ['refused', 'connection-refused'],
  ['timed-out', 'deadline-exceeded'],
  ['invalid', 'invalid-argument'],
  ['internal', 'internal'],
]);

/** Turns the payload of an ERROR frame into the error to throw. */
export function errorFromAgent(json: string): SkerryError {
  const { kind, message } = parse(errorSchema, json, 'ERROR');
  const text = message.trim() || `the agent refused the request (${kind})`;
  return new SkerryError(agentErrors.get(kind) ?? 'internal', text[0]?.toUpperCase() + text.slice(1));
}

/** An agent broke the protocol. What it said is not to be trusted, so none of it is shown. */
export function protocolError(what: string, cause?: unknown): SkerryError {
  return new SkerryError('internal', `The sandbox's agent broke the protocol: ${what}`, { cause });
}

/** Parses and validates a JSON payload. @throws SkerryError `internal` when it is not what the protocol says. */
export function parse<T>(schema: z.ZodType<T>, json: string, name: string): T {
  try {
    return schema.parse(JSON.parse(json));
  } catch (error) {
    throw protocolError(`${name} is malformed`, error);
  }
}
