/** Fields and answers that the HTTP interfaces share, with their bounds: requests are validated and answers serialised through them. */
import { z } from 'zod';
import { isObjectName } from '../../apps/names.ts';
import { checkUserMetadata, MAX_USER_METADATA_CHARACTERS } from '../../auth/connect-tokens.ts';
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
export const MAX_TTL_SECONDS = MAX_TTL_MS / 1000;
/** Kept of each output stream of an exec unless the caller asks for another bound. */
export const DEFAULT_OUTPUT_BYTES = 1 << 20;
export const MAX_OUTPUT_BYTES = 16 << 20;

// A NUL byte ends a C string: no argument, variable or path can hold one.
const noNul = (text: string) => !text.includes('\0');
export const cText = z.string().refine(noNul, 'must not contain a NUL character');
export const argument = cText.refine(
  (text) => Buffer.byteLength(text) <= MAX_ARGUMENT_BYTES,
  `must be at most ${MAX_ARGUMENT_BYTES} bytes, the bound of Linux; send longer programs as stdin or as a file`,
);
export const absolutePath = cText
  .max(4096)
  .refine((path) => path.startsWith('/'), 'must be an absolute path');
export const environment = z
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
export const environmentBounds = `At most ${MAX_VARIABLES} variables of ${MAX_VARIABLE_BYTES} bytes, ${MAX_ENVIRONMENT_BYTES} bytes in all.`;
export const timestamp = z.iso.datetime().meta({ description: 'UTC, ISO 8601.' });

/** Of an object of Skerry's, as an app, a sandbox or a volume. */
export const objectName = z
  .string()
  .refine(isObjectName, 'a name has 1 to 64 letters, digits, dots, dashes and underscores')
  .meta({ minLength: 1, maxLength: 64 });
const volumeRequest = z
  .strictObject({
    name: objectName,
    readOnly: z.boolean().optional().meta({ description: 'Default: false.' }),
    subPath: cText.max(MAX_PATH_BYTES).optional().meta({
      description: 'A directory of the volume, which is made when it is missing. Default: all of it.',
    }),
  })
  .meta({ id: 'VolumeMount' });

export const port = z.int().min(1).max(0xffff);
const portRequest = z
  .strictObject({
    port,
    http2: z.boolean().optional().meta({
      description: 'Clients may agree on HTTP/2, which the program speaks without TLS. Default: false.',
    }),
    plain: z.boolean().optional().meta({ description: 'Also without TLS. Default: false.' }),
  })
  .meta({ id: 'PortRequest', description: 'A port to open to the outside.' });
const portOf = (request: number | z.output<typeof portRequest>) =>
  typeof request === 'number' ? request : request.port;

const audit = z
  .boolean()
  .default(false)
  .meta({ description: 'Tells in the log of the sandbox what it reaches, and tries to.' });

const reach = z.enum(['open', 'blocked']);
const auditedReach = z.strictObject({ access: reach, audit });

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
  audit,
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

/** What a sandbox is made with, the same in every interface. */
export const sandboxShape = {
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
    .record(absolutePath, z.union([objectName, volumeRequest]))
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
  network: z.union([reach, auditedReach, allowedDomains]).default('open').meta({
    description:
      'blocked: no outbound connections, also as access. With domains: these alone, by TLS and HTTP. Private networks and other sandboxes are out of reach in all.',
  }),
  secretHeaders: z.array(secretHeaders).max(MAX_SECRET_HEADERS).optional().meta({
    description:
      'Headers that are put into what it sends to these domains by HTTPS, in the place of those that its programs send: the values never enter the sandbox.',
  }),
};

/** @see checkInbound, whose words are for the other API */
function areCidrs(cidrs: readonly string[]): boolean {
  try {
    checkInbound(cidrs);
    return true;
  } catch {
    return false;
  }
}

export const sandboxStatus = z.enum(['starting', 'running', 'suspended', 'stopping', 'ended']);
export const endReason = z.enum([
  'exited',
  'terminated',
  'timeout',
  'idle-timeout',
  'out-of-memory',
  'start-failed',
  'crashed',
]);

export const commandShape = {
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
export const eitherForm = (request: { command?: string | undefined; argv?: string[] | undefined }) =>
  (request.command === undefined) !== (request.argv === undefined);
export const eitherFormError = { error: 'give exactly one of command and argv', path: ['command'] };

export const commandRequest = z.strictObject(commandShape).refine(eitherForm, eitherFormError).meta({
  id: 'CommandRequest',
  description: 'A program to run, by its arguments or as a command of a shell.',
});
export type CommandRequest = z.output<typeof commandRequest>;

/** Copies of a sandbox by one call; each counts as one of the sandboxes that the server may run. */
export const MAX_COPIES = 100;

/** The part of a list that is asked for. */
export const pageShape = {
  includeEnded: z.stringbool().default(false),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z
    .string()
    .regex(/^\d{1,16}$/, 'must be a nextCursor')
    .optional(),
};

export const offset = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0);
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
  .meta({ id: 'KillRequest', description: 'The signal to send.' });

export const fileQuery = z.strictObject({ path: absolutePath });
export const deleteFileQuery = z.strictObject({
  path: absolutePath,
  recursive: z.stringbool().default(false),
});
export const fileWritten = z
  .object({ path: z.string(), size: z.int() })
  .meta({ id: 'FileWritten', description: 'A file that was written, and its bytes.' });
export const volumesReloaded = z
  .object({ volumes: z.array(z.string()).meta({ description: 'Where they are mounted.' }) })
  .meta({ id: 'VolumesReloaded', description: 'Volumes that show now what others wrote.' });
export const tunnelAnswer = z
  .object({
    port: z.int().meta({ description: 'In the sandbox.' }),
    url: z.string().meta({ description: 'With TLS. The same as long as it runs.' }),
    plain: z
      .object({ host: z.string(), port: z.int() })
      .nullable()
      .meta({ description: 'Without TLS, where that was asked for.' }),
  })
  .meta({ id: 'Tunnel', description: 'A port of a sandbox that is open to the outside.' });
export const tunnelList = z
  .object({ tunnels: z.array(tunnelAnswer) })
  .meta({ id: 'TunnelList', description: 'The open ports of a sandbox.' });

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
  .meta({ id: 'ConnectTokenRequest', description: 'The port that a token is to open.' });
export const connectTokenAnswer = z
  .object({
    url: z.string().meta({ description: 'The same for a port as long as the sandbox lives.' }),
    token: z.string().meta({
      description: 'Bearer token, or _modal_connect_token in the query or as a cookie.',
    }),
    expiresInSeconds: z.int(),
  })
  .meta({
    id: 'ConnectToken',
    description: 'A URL, and the token with which HTTP to it reaches a port of a sandbox.',
  });

function fitsHeader(metadata: unknown): boolean {
  try {
    checkUserMetadata(typeof metadata === 'string' ? metadata : JSON.stringify(metadata));
    return true;
  } catch {
    return false;
  }
}

export const fileDeleted = z
  .object({ path: z.string() })
  .meta({ id: 'FileDeleted', description: 'What was deleted.' });
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
  .meta({ id: 'FileEntry', description: 'Something in a directory.' });
export const fileList = z
  .object({
    path: z.string(),
    entries: z.array(fileEntry).meta({ description: 'By name.' }),
  })
  .meta({ id: 'FileList', description: 'What is directly in a directory.' });

export const errorBody = z.object({
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
export const errorAnswer = z
  .object({ error: errorBody })
  .meta({ id: 'ErrorAnswer', description: 'What every answer holds that is none of success.' });
export type ErrorAnswer = z.output<typeof errorAnswer>;
