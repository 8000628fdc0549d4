/**
 * Every message of the Modbox REST interface, once: requests are validated against these schemas, answers are serialised through them, the OpenAPI document
 * is made from them (`modbox-api.ts`), and so are the types of the `modbox-sdk` package (`modbox-sdk/scripts/generate-types.ts`).
 */
import { z } from 'zod';
import { isObjectName } from '../../apps/names.ts';
import { checkUserMetadata, MAX_USER_METADATA_CHARACTERS } from '../../auth/connect-tokens.ts';
import { isSandboxId } from '../../ids.ts';
import { domainPattern } from '../../platform/domain-patterns.ts';
import { MAX_PATH_BYTES } from '../../platform/path-limits.ts';
import { checkInbound } from '../../sandboxes/inbound.ts';
import { MAX_TTL_MS } from '../../sandboxes/provisioner.ts';
import {
  environmentBytes,
  MAX_ENVIRONMENT_BYTES,
  MAX_VARIABLE_BYTES,
  MAX_VARIABLES,
  VARIABLE_NAME_RULE,
  variableNamePattern,
} from '../../secrets/environment-variables.ts';

/** Linux refuses a single argument of 128 KiB or more (MAX_ARG_STRLEN, execve(2)). */
export const MAX_ARGUMENT_BYTES = 131_071;
/** Of one sandbox. */
const MAX_VOLUMES = 64;
const MAX_OPEN_PORTS = 64;
const DEFAULT_CONNECT_PORT = 8080;
const MAX_DOMAINS = 1000;
const MAX_SECRET_HEADERS = 25;
const MAX_TTL_SECONDS = MAX_TTL_MS / 1000;
export const DEFAULT_TTL_SECONDS = 300;
/** Kept of each output stream of an exec unless the caller asks for another bound. */
export const DEFAULT_OUTPUT_BYTES = 1 << 20;
export const MAX_OUTPUT_BYTES = 16 << 20;

// A NUL byte ends a C string: no argument, variable or path can hold one.
const noNul = (text: string) => !text.includes('\0');
const cText = z.string().refine(noNul, 'must not contain a NUL character');
const argument = cText.refine(
  (text) => Buffer.byteLength(text) <= MAX_ARGUMENT_BYTES,
  `must be at most ${MAX_ARGUMENT_BYTES} bytes, the bound of Linux; send longer programs as stdin or as a file`,
);
const absolutePath = cText.max(4096).refine((path) => path.startsWith('/'), 'must be an absolute path');
const environment = z
  .record(
    z.string().regex(variableNamePattern, VARIABLE_NAME_RULE),
    // Characters, of which each has a byte at least: the bytes are counted below.
    cText
      .max(MAX_VARIABLE_BYTES)
      .refine(
        (text) => Buffer.byteLength(text) <= MAX_VARIABLE_BYTES,
        `must be at most ${MAX_VARIABLE_BYTES} bytes`,
      ),
  )
  .refine((env) => Object.keys(env).length <= MAX_VARIABLES, `at most ${MAX_VARIABLES} variables`)
  .refine(
    (env) => environmentBytes(env) <= MAX_ENVIRONMENT_BYTES,
    `at most ${MAX_ENVIRONMENT_BYTES} bytes in all`,
  )
  .meta({ maxProperties: MAX_VARIABLES });
const environmentBounds = `At most ${MAX_VARIABLES} variables of ${MAX_VARIABLE_BYTES} bytes, ${MAX_ENVIRONMENT_BYTES} bytes in all.`;
const timestamp = z.iso.datetime().meta({ description: 'UTC, ISO 8601.' });

/** The caller's own name for a sandbox: printable, and not of a sandbox id's shape, which the same URLs accept. */
export const taskIdSchema = z
  .string()
  .min(1)
  .max(128)
  .refine((id) => !/\p{C}/u.test(id), 'must not contain control characters')
  .refine((id) => id !== '.' && id !== '..', 'must not be a dot segment, URLs drop those')
  .refine((id) => !isSandboxId(id), 'must not have the shape of a sandbox id');

const volumeName = z
  .string()
  .refine(isObjectName, 'a name has 1 to 64 letters, digits, dots, dashes and underscores')
  .meta({ minLength: 1, maxLength: 64 });
const volumeRequest = z
  .strictObject({
    name: volumeName,
    readOnly: z.boolean().optional().meta({ description: 'Default: false.' }),
    subPath: cText.max(MAX_PATH_BYTES).optional().meta({
      description: 'A directory of the volume, which is made when it is missing. Default: all of it.',
    }),
  })
  .meta({ id: 'VolumeMount' });

const port = z.int().min(1).max(0xffff);
const portRequest = z
  .strictObject({
    port,
    http2: z.boolean().optional().meta({
      description: 'Clients may agree on HTTP/2, which the program speaks without TLS. Default: false.',
    }),
    plain: z.boolean().optional().meta({ description: 'Also without TLS. Default: false.' }),
  })
  .meta({ id: 'PortRequest' });
const portOf = (request: number | z.output<typeof portRequest>) =>
  typeof request === 'number' ? request : request.port;

const allowedDomains = z.strictObject({
  domains: z
    .array(
      z
        .string()
        .max(255)
        .refine((text) => domainPattern(text) !== undefined, 'is no domain'),
    )
    .min(1)
    .max(MAX_DOMAINS)
    .meta({
      description: `Names, names with *. before them for all below, or * for every one; at most ${MAX_DOMAINS}.`,
    }),
  audit: z
    .boolean()
    .default(false)
    .meta({ description: 'Tells in the log of the sandbox what it reaches, and tries to.' }),
});

const secretHeaders = z.strictObject({
  domain: z
    .string()
    .max(255)
    .refine((text) => domainPattern(text) !== undefined, 'is no domain')
    .meta({ description: 'A name, one with *. before it for it and all below, or * for every one.' }),
  headers: z
    .record(z.string().max(256), z.string().max(8192))
    .meta({ description: 'Values by the names of headers.', maxProperties: MAX_SECRET_HEADERS }),
});

export const provisionRequest = z
  .strictObject({
    taskId: taskIdSchema.meta({ description: "The caller's own id, unique among running sandboxes." }),
    imageId: z.string().max(512).optional().meta({
      description:
        'An image id (im-…), or a registry reference such as python:3.12-slim. Default: the code-interpreter image.',
    }),
    ttlSeconds: z.int().min(1).max(MAX_TTL_SECONDS).default(DEFAULT_TTL_SECONDS).meta({
      description: 'Lifetime in seconds; what it counts from is for ttlMode to say.',
    }),
    ttlMode: z
      .enum(['absolute', 'idle'])
      .default('absolute')
      .meta({
        description: `absolute: from the start, no matter what. idle: from the last activity, and at most ${MAX_TTL_SECONDS} s in all.`,
      }),
    idleAction: z.enum(['end', 'suspend']).optional().meta({
      description:
        "What becomes of it after ttlSeconds without activity; for ttlMode idle alone. suspend: it is kept on the disk, with the memory of its programs, and goes on at the next call that needs it (gVisor). Default: what the server's setting says, at first end.",
    }),
    envVars: environment.default({}).meta({
      description: `Environment of every process. Encrypted at rest, never logged. ${environmentBounds}`,
    }),
    workdir: absolutePath
      .optional()
      .meta({ description: "Working directory of every process. Default: the image's." }),
    cpu: z.number().min(0.1).max(1024).optional().meta({ description: 'Cores; may be a fraction.' }),
    memoryMiB: z
      .int()
      .min(64)
      .max(1 << 24)
      .optional()
      .meta({ description: 'Memory limit in MiB; a program over it is killed.' }),
    volumes: z
      .record(absolutePath, z.union([volumeName, volumeRequest]))
      .refine((volumes) => Object.keys(volumes).length <= MAX_VOLUMES, `at most ${MAX_VOLUMES} volumes`)
      .default({})
      .meta({
        description: `Volumes by the directory where each is mounted, at most ${MAX_VOLUMES}; one that does not exist is made. What is written there is kept however the sandbox ends.`,
        maxProperties: MAX_VOLUMES,
      }),
    ports: z
      .array(z.union([port, portRequest]))
      .max(MAX_OPEN_PORTS)
      .refine((ports) => new Set(ports.map(portOf)).size === ports.length, 'no port twice')
      .default([])
      .meta({ description: 'Ports that are open to the outside, with TLS; GET /tunnels says where.' }),
    inboundCidrs: z
      .array(z.string().max(64))
      .refine(areCidrs, 'must be networks such as 203.0.113.0/24, at most 1000')
      .default([])
      .meta({
        description:
          'From where its ports may be reached, by tunnels and with connect tokens. Default: from everywhere.',
      }),
    network: z
      .union([z.enum(['open', 'blocked']), allowedDomains])
      .default('open')
      .meta({
        description:
          'blocked: no outbound connections. With domains: these alone, by TLS and HTTP. Private networks and other sandboxes are out of reach in all.',
      }),
    secretHeaders: z.array(secretHeaders).max(MAX_SECRET_HEADERS).optional().meta({
      description:
        'Headers that are put into what it sends to these domains by HTTPS, in the place of those that its programs send: the values never enter the sandbox.',
    }),
  })
  .refine(({ idleAction, ttlMode }) => idleAction === undefined || ttlMode === 'idle', {
    error: 'is for ttlMode idle',
    path: ['idleAction'],
  })
  .meta({ id: 'ProvisionRequest' });
export type ProvisionRequest = z.output<typeof provisionRequest>;

/** @see checkInbound, whose words are for the other API */
function areCidrs(cidrs: readonly string[]): boolean {
  try {
    checkInbound(cidrs);
    return true;
  } catch {
    return false;
  }
}

export const endReason = z.enum([
  'exited',
  'terminated',
  'timeout',
  'idle-timeout',
  'out-of-memory',
  'start-failed',
  'crashed',
]);

export const sandboxAnswer = z
  .object({
    taskId: z
      .string()
      .meta({ description: "The caller's id; the sandbox id where the sandbox was made without one." }),
    sandboxId: z.string(),
    status: z.enum(['starting', 'running', 'suspended', 'stopping', 'ended']),
    isolation: z.enum(['gvisor', 'runc', 'runc-shared-users']).nullable().meta({
      description:
        "What keeps its programs from the machine: gVisor's own kernel, or runc on the machine's, with users of its own or the machine's; null once it ended.",
    }),
    endReason: endReason.nullable().meta({ description: 'Why it ended; null while it has not.' }),
    sandboxUrl: z.string().meta({ description: 'Base of this sandbox: add /modbox/api/exec and so on.' }),
    apiKey: z.string().meta({ description: 'Bearer key that is good for this sandbox alone.' }),
    imageId: z.string(),
    ttlSeconds: z.int(),
    ttlMode: z.enum(['absolute', 'idle']),
    createdAt: timestamp,
    expiresAt: timestamp.nullable().meta({ description: 'When it ends at the latest; null once it ended.' }),
  })
  .meta({ id: 'Sandbox' });
export type SandboxAnswer = z.output<typeof sandboxAnswer>;

/** Of one call; each counts as one of the sandboxes that the server may run. */
export const MAX_COPIES = 100;
const copyCount = z.int().min(1).max(MAX_COPIES);
export const forkRequest = z
  .strictObject({
    count: copyCount
      .optional()
      .meta({ description: 'How many copies. Default: one, or one for each task id.' }),
    taskIds: z
      .array(taskIdSchema)
      .min(1)
      .max(MAX_COPIES)
      .refine((ids) => new Set(ids).size === ids.length, 'no id twice')
      .optional()
      .meta({ description: 'Those of the copies. Default: none; each is found by its sandbox id.' }),
  })
  .refine(({ count, taskIds }) => count === undefined || taskIds === undefined || count === taskIds.length, {
    error: 'count and taskIds must agree',
    path: ['count'],
  })
  .meta({ id: 'ForkRequest' });
export const forkAnswer = z
  .object({ sandboxes: z.array(sandboxAnswer).meta({ description: 'The copies, all running.' }) })
  .meta({ id: 'Fork' });

export const listQuery = z.strictObject({
  includeEnded: z.stringbool().default(false),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z
    .string()
    .regex(/^\d{1,16}$/, 'must be a nextCursor')
    .optional(),
});
export const sandboxList = z
  .object({
    sandboxes: z.array(sandboxAnswer).meta({ description: 'Newest first.' }),
    nextCursor: z
      .string()
      .nullable()
      .meta({ description: 'Pass as cursor for the next page; null at the end.' }),
  })
  .meta({ id: 'SandboxList' });
export const waitQuery = z.strictObject({ timeoutSeconds: z.coerce.number().min(0).max(60).default(30) });

export const defaultImageAnswer = z
  .object({
    status: z.enum(['not-built', 'building', 'ready', 'failed']),
    imageId: z.string().nullable(),
    builtFrom: z.string().nullable().meta({ description: 'The Dockerfile it was made with.' }),
    languages: z.array(z.object({ name: z.string(), version: z.string(), invocation: z.string() })),
    message: z.string().nullable().meta({ description: 'Why the build failed.' }),
  })
  .meta({ id: 'DefaultImage' });
export type DefaultImageAnswer = z.output<typeof defaultImageAnswer>;

const commandShape = {
  command: argument
    .min(1)
    .optional()
    .meta({ description: 'Run by bash where the image has it, else by /bin/sh.' }),
  argv: z
    .array(argument)
    .min(1)
    .max(4096)
    .refine((argv) => argv[0] !== '', 'the program must not be empty')
    .optional()
    .meta({ description: 'Program and arguments, without a shell: nothing needs quoting.' }),
  cwd: absolutePath.optional(),
  env: environment.default({}).meta({ description: `Added to the sandbox's. ${environmentBounds}` }),
  stdin: z
    .string()
    .optional()
    .meta({ description: 'Text for standard input. Without it, input is at its end.' }),
  timeoutMs: z
    .int()
    .min(1)
    .max(MAX_TTL_SECONDS * 1000)
    .optional()
    .meta({
      description: 'Then the command and everything it started is killed.',
    }),
};
const eitherForm = (request: { command?: string | undefined; argv?: string[] | undefined }) =>
  (request.command === undefined) !== (request.argv === undefined);
const eitherFormError = { error: 'give exactly one of command and argv', path: ['command'] };

export const execRequest = z
  .strictObject({
    ...commandShape,
    maxOutputBytes: z.int().min(0).max(MAX_OUTPUT_BYTES).default(DEFAULT_OUTPUT_BYTES).meta({
      description: 'Kept of each stream, from its start; what is beyond is dropped and truncated says so.',
    }),
  })
  .refine(eitherForm, eitherFormError)
  .meta({ id: 'ExecRequest' });
export const commandRequest = z
  .strictObject(commandShape)
  .refine(eitherForm, eitherFormError)
  .meta({ id: 'CommandRequest' });
export type CommandRequest = z.output<typeof commandRequest>;

export const execAnswer = z
  .object({
    exitCode: z.int().meta({ description: '128+n when signal n ended the command.' }),
    stdout: z.string(),
    stderr: z.string(),
    durationMs: z.int(),
    truncated: z.boolean().meta({ description: 'True when output beyond maxOutputBytes was dropped.' }),
    timedOut: z.boolean().meta({ description: 'True when timeoutMs passed and the command was killed.' }),
  })
  .meta({ id: 'ExecResult' });

/** The events of a streamed command: `event:` is the key, `data:` the JSON value. */
export const streamEvents = z
  .object({
    stdout: z.object({ text: z.string() }).optional(),
    stderr: z.object({ text: z.string() }).optional(),
    exit: execAnswer.pick({ exitCode: true, durationMs: true, timedOut: true }).optional(),
    error: z.object({ error: z.lazy(() => errorBody) }).optional(),
  })
  .meta({ id: 'StreamEvents' });

export const processAnswer = z
  .object({
    processId: z.string(),
    argv: z.array(z.string()),
    status: z.enum(['running', 'exited']),
    exitCode: z.int().nullable(),
    timedOut: z.boolean(),
    startedAt: timestamp,
  })
  .meta({ id: 'Process' });
export const processList = z.object({ processes: z.array(processAnswer) }).meta({ id: 'ProcessList' });
const offset = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0);
export const logsQuery = z.strictObject({
  stdoutOffset: offset,
  stderrOffset: offset,
  maxBytes: z.coerce.number().int().min(4).max(MAX_OUTPUT_BYTES).default(DEFAULT_OUTPUT_BYTES),
});
export const logsAnswer = z
  .object({
    stdout: z.string(),
    stderr: z.string(),
    stdoutOffset: z.int().meta({ description: 'Where to go on: pass as stdoutOffset.' }),
    stderrOffset: z.int(),
    complete: z
      .boolean()
      .meta({ description: 'True when it exited and these offsets are the end of its output.' }),
    process: processAnswer,
  })
  .meta({ id: 'ProcessLogs' });
/** Signals by name; the numbers are those of Linux on every architecture Skerry runs on (signal(7)). */
export const signalNumbers = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGTERM: 15,
} as const;
export const killRequest = z
  .strictObject({
    signal: z
      .enum(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGKILL', 'SIGUSR1', 'SIGUSR2', 'SIGTERM'])
      .default('SIGTERM')
      .meta({ description: 'Sent to the process, its group and everything it started.' }),
  })
  .meta({ id: 'KillRequest' });

export const fileQuery = z.strictObject({ path: absolutePath });
export const deleteFileQuery = z.strictObject({
  path: absolutePath,
  recursive: z.stringbool().default(false),
});
export const fileWritten = z.object({ path: z.string(), size: z.int() }).meta({ id: 'FileWritten' });
export const volumesReloaded = z
  .object({ volumes: z.array(z.string()).meta({ description: 'Where they are mounted.' }) })
  .meta({ id: 'VolumesReloaded' });
export const tunnelAnswer = z
  .object({
    port: z.int().meta({ description: 'In the sandbox.' }),
    url: z.string().meta({ description: 'With TLS. The same as long as it runs.' }),
    plain: z
      .object({ host: z.string(), port: z.int() })
      .nullable()
      .meta({ description: 'Without TLS, where that was asked for.' }),
  })
  .meta({ id: 'Tunnel' });
export const tunnelList = z.object({ tunnels: z.array(tunnelAnswer) }).meta({ id: 'TunnelList' });

export const connectTokenRequest = z
  .strictObject({
    port: port.default(DEFAULT_CONNECT_PORT).meta({ description: 'In the sandbox.' }),
    userMetadata: z
      .union([z.string(), z.record(z.string(), z.unknown())])
      .refine(fitsHeader, `must be one line of at most ${MAX_USER_METADATA_CHARACTERS} characters, as JSON`)
      .optional()
      .meta({
        description:
          'What the program is told in X-Verified-User-Data: a text, or an object as JSON. No secret.',
      }),
  })
  .meta({ id: 'ConnectTokenRequest' });
export const connectTokenAnswer = z
  .object({
    url: z.string().meta({ description: 'The same for a port as long as the sandbox lives.' }),
    token: z.string().meta({
      description: 'Bearer token, or _modal_connect_token in the query or as a cookie.',
    }),
    expiresInSeconds: z.int(),
  })
  .meta({ id: 'ConnectToken' });

function fitsHeader(metadata: unknown): boolean {
  try {
    checkUserMetadata(typeof metadata === 'string' ? metadata : JSON.stringify(metadata));
    return true;
  } catch {
    return false;
  }
}

export const fileDeleted = z.object({ path: z.string() }).meta({ id: 'FileDeleted' });
export const fileEntry = z
  .object({
    name: z.string(),
    path: z.string(),
    type: z.enum(['file', 'directory', 'symlink']),
    size: z.int(),
    permissions: z.string(),
    owner: z.string(),
    group: z.string(),
    modifiedAt: timestamp,
    symlinkTarget: z.string().nullable(),
  })
  .meta({ id: 'FileEntry' });
export const fileList = z
  .object({
    path: z.string(),
    entries: z.array(fileEntry).meta({ description: 'By name.' }),
  })
  .meta({ id: 'FileList' });

const errorBody = z.object({
  code: z.string().meta({ description: 'Stable, for programs.' }),
  message: z.string(),
  suggestion: z.string().meta({ description: 'What to do next.' }),
  retryable: z
    .boolean()
    .meta({ description: 'True when the same request may succeed later; see Retry-After.' }),
  path: z.string().optional().meta({ description: 'The field at fault.' }),
  differs: z
    .array(z.string())
    .optional()
    .meta({ description: 'Of a 409: the fields that differ from the running sandbox.' }),
  reason: endReason.optional().meta({ description: 'Of a sandbox that ended: why.' }),
});
export const errorAnswer = z.object({ error: errorBody }).meta({ id: 'ErrorAnswer' });
export type ErrorAnswer = z.output<typeof errorAnswer>;

/** Names of the schemas that are requests; the others with an id are answers. */
export const requestSchemaIds: readonly string[] = [
  'ProvisionRequest',
  'ForkRequest',
  'ExecRequest',
  'CommandRequest',
  'KillRequest',
  'ConnectTokenRequest',
];
