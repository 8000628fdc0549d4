/**
 * Every message of Skerry's own HTTP interface, `/v1`, once: requests are validated against these schemas, answers are serialised through them, the OpenAPI
 * document is made from them, and so are the types of the `skerry` package (`sdk/scripts/generate-types.ts`).
 */
import { z } from 'zod';
import { gpuType, MAX_GPUS } from '../../sandboxes/spec.ts';
import {
  absolutePath,
  commandShape,
  eitherForm,
  eitherFormError,
  endReason,
  environment,
  environmentBounds,
  MAX_COPIES,
  MAX_TTL_SECONDS,
  objectName,
  offset,
  pageShape,
  sandboxShape,
  sandboxStatus,
  timestamp,
} from '../http/fields.ts';

export const DEFAULT_APP = 'skerry';
export const DEFAULT_TIMEOUT_SECONDS = 300;
/** How long one call may wait; longer waits are made of several, so that no proxy takes the connection for dead. */
const MAX_WAIT_SECONDS = 60;
const MAX_SECRETS = 64;
const MAX_IMAGE_TTL_SECONDS = 365 * 86_400;

const MAX_TAG_FILTERS = 64;

/** `checkTags` has their bounds. */
const tags = z.record(z.string(), z.string());
const secrets = z
  .array(objectName)
  .max(MAX_SECRETS)
  .default([])
  .meta({ description: 'Names of stored secrets, whose variables are added.' });
/** Of a main program, or one that is started: it gets a terminal, and all its output is stdout. */
const terminalSize = z
  .strictObject({ rows: z.int().min(1).max(4096), cols: z.int().min(1).max(4096) })
  .meta({ id: 'TerminalSize', description: 'Of a terminal, in characters.' });

export const sandboxCreate = z
  .strictObject({
    image: z.string().max(512).optional().meta({
      description:
        'An image id (im-…), a published name, or a registry reference such as python:3.12-slim. Default: the code-interpreter image.',
    }),
    name: objectName.optional().meta({ description: 'Unique among the running sandboxes of its app.' }),
    app: objectName
      .default(DEFAULT_APP)
      .meta({ description: 'What sandboxes are grouped under; made when missing.' }),
    tags: tags.default({}),
    command: commandShape.argv.meta({
      description:
        "Its main program: the sandbox ends with it. The image's ENTRYPOINT comes before it. Default: none, it stays until its time is over.",
    }),
    pty: terminalSize.optional(),
    env: environment.default({}).meta({
      description: `Environment of every process. Encrypted at rest, never logged. ${environmentBounds}`,
    }),
    secrets,
    timeoutSeconds: z.int().min(1).max(MAX_TTL_SECONDS).default(DEFAULT_TIMEOUT_SECONDS).meta({
      description: 'It ends so long after its start, no matter what.',
    }),
    idleTimeoutSeconds: z.int().min(1).max(MAX_TTL_SECONDS).optional().meta({
      description: 'It also ends when nothing happens in it for so long.',
    }),
    idleAction: z.enum(['end', 'suspend']).optional().meta({
      description:
        "What becomes of it then. suspend: it is kept on the disk, with the memory of its programs, and goes on at the next call that needs it (gVisor). Default: what the server's setting says, at first end.",
    }),
    isolation: z.enum(['gvisor', 'runc']).optional().meta({
      description: "What keeps its programs from the machine. Default: the server's choice.",
    }),
    gpu: z
      .strictObject({
        type: z
          .string()
          .max(64)
          .refine((type) => gpuType(type) !== undefined, 'no type of GPU, such as H100 or any')
          .default('any'),
        count: z.int().min(1).max(MAX_GPUS).default(1),
      })
      .optional()
      .meta({ description: 'Whole GPUs of the machine, for itself alone. Default: none.' }),
    ...sandboxShape,
  })
  .refine((request) => request.pty === undefined || request.command !== undefined, {
    error: 'a terminal is for a command',
    path: ['pty'],
  })
  .refine(
    ({ idleAction, idleTimeoutSeconds }) => idleAction === undefined || idleTimeoutSeconds !== undefined,
    {
      error: 'is for a sandbox with idleTimeoutSeconds',
      path: ['idleAction'],
    },
  )
  .meta({ id: 'SandboxCreate', description: 'What a sandbox is to be.' });
export type SandboxCreate = z.output<typeof sandboxCreate>;

export const sandboxInfo = z
  .object({
    id: z.string(),
    name: z.string().nullable(),
    tags: z.record(z.string(), z.string()),
    status: sandboxStatus,
    result: z
      .object({
        reason: endReason,
        exitCode: z.int().nullable().meta({ description: 'Of its main program, where that ended it.' }),
        message: z.string().nullable(),
      })
      .nullable()
      .meta({ description: 'How it ended; null while it has not.' }),
    isolation: z.enum(['gvisor', 'runc', 'runc-shared-users']).nullable().meta({
      description: 'What keeps its programs from the machine; null once it ended.',
    }),
    imageId: z.string(),
    hasCommand: z.boolean().meta({ description: 'Whether it lives for a main program.' }),
    timeoutSeconds: z.int(),
    createdAt: timestamp,
    startedAt: timestamp.nullable(),
    endedAt: timestamp.nullable(),
    expiresAt: timestamp.nullable().meta({ description: 'When it ends at the latest; null once it ended.' }),
    key: z.string().meta({ description: 'Bearer key that is good for this sandbox alone.' }),
  })
  .meta({ id: 'SandboxInfo', description: 'What is known of a sandbox.' });
export type SandboxInfo = z.output<typeof sandboxInfo>;

export const listQuery = z.strictObject({
  ...pageShape,
  app: z.string().max(64).optional().meta({ description: 'Its name or its id.' }), // looked up
  name: objectName
    .optional()
    .meta({ description: 'The one of that name in its app; of ended ones the newest.' }),
  tag: z
    .union([z.string(), z.array(z.string()).max(MAX_TAG_FILTERS)])
    .optional()
    .transform((given, context) => tagsOf(given, context))
    .meta({ description: 'key=value, may be given several times: all must match.' }),
});
export const sandboxPage = z
  .object({
    sandboxes: z.array(sandboxInfo).meta({ description: 'Newest first.' }),
    nextCursor: z.string().nullable().meta({ description: 'Pass as cursor; null at the end.' }),
  })
  .meta({ id: 'SandboxPage', description: 'A part of a list of sandboxes.' });
export const waitQuery = z.strictObject({
  until: z.enum(['running', 'ended']).default('running'),
  timeoutSeconds: z.coerce.number().min(0).max(MAX_WAIT_SECONDS).default(30),
});

export const processStart = z
  .strictObject({
    ...commandShape,
    id: z.uuid().optional().meta({
      description:
        'Chosen by the caller: the same id again is the same process, so that a call may be repeated.',
    }),
    secrets,
    pty: terminalSize.optional(),
    keepStdin: z.boolean().default(false).meta({
      description: 'Its input stays open after `stdin`, for POST …/stdin. Default: it is at its end.',
    }),
  })
  .refine(eitherForm, eitherFormError)
  .meta({ id: 'ProcessStart', description: 'A program to start.' });
export type ProcessStart = z.output<typeof processStart>;

export const processExit = z
  .object({
    exitCode: z.int().meta({ description: '128+n when signal n ended it.' }),
    signal: z.int().nullable(),
    timedOut: z.boolean(),
  })
  .meta({ id: 'ProcessExit', description: 'How a program ended.' });
export const processInfo = z
  .object({
    id: z.string(),
    argv: z.array(z.string()),
    startedAt: timestamp,
    exit: processExit.nullable().meta({ description: 'Null while it runs.' }),
  })
  .meta({ id: 'ProcessInfo', description: 'A program that runs in a sandbox, or ran.' });
export const processInfos = z
  .object({ processes: z.array(processInfo) })
  .meta({ id: 'ProcessInfos', description: 'The programs of a sandbox.' });
export const outputQuery = z.strictObject({
  stdout: offset.meta({ description: 'Bytes of stdout that are known already.' }),
  stderr: offset,
  streams: z
    .enum(['both', 'stdout', 'stderr', 'none'])
    .default('both')
    .meta({ description: 'none: only the exit.' }),
  follow: z.stringbool().default(true).meta({ description: 'False: only what is there now.' }),
});
export const stdinQuery = z.strictObject({
  offset: offset.meta({ description: 'Where these bytes begin; what was taken already is passed over.' }),
  end: z.stringbool().default(false).meta({ description: 'Nothing comes after them.' }),
});
export const stdinTaken = z
  .object({ accepted: z.int() })
  .meta({ id: 'StdinTaken', description: 'How many bytes of its input a program has been given by now.' });
export const resizeRequest = terminalSize;

export const directoryRequest = z
  .strictObject({ path: absolutePath, parents: z.boolean().default(true) })
  .meta({ id: 'DirectoryRequest', description: 'A directory to make.' });
export const directoryMade = z
  .object({ path: z.string() })
  .meta({ id: 'DirectoryMade', description: 'A directory that is there.' });
export const fileStat = z
  .object({
    path: z.string(),
    type: z
      .enum(['file', 'directory', 'symlink'])
      .nullable()
      .meta({ description: 'Null: nothing is there.' }),
  })
  .meta({ id: 'FileStat', description: 'What is at a path.' });

export const snapshotRequest = z
  .strictObject({
    path: absolutePath
      .optional()
      .meta({ description: 'Of this directory alone. Default: the whole filesystem.' }),
    ttlSeconds: z.int().min(1).max(MAX_IMAGE_TTL_SECONDS).optional().meta({
      description: 'How long the image lives. Default: until it is deleted.',
    }),
  })
  .meta({ id: 'SnapshotRequest', description: 'What an image is to be made of.' });
export const snapshotMade = z
  .object({ imageId: z.string(), createdAt: timestamp })
  .meta({ id: 'SnapshotMade', description: 'An image of the files of a sandbox.' });

/** `key=value`, once or several times. */
function tagsOf(
  given: string | readonly string[] | undefined,
  context: z.RefinementCtx,
): Record<string, string> | undefined {
  if (given === undefined) return undefined;
  const pairs = (typeof given === 'string' ? [given] : given).map((text) => /^([^=]+)=(.*)$/s.exec(text));
  if (pairs.includes(null)) context.addIssue({ code: 'custom', message: 'must be key=value' });
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? '', pair?.[2] ?? '']));
}

export const forkRequest = z
  .strictObject({
    count: z.int().min(1).max(MAX_COPIES).default(1),
    tags: tags.optional().meta({ description: 'Of the copies. Default: those of the original.' }),
  })
  .meta({ id: 'ForkRequest', description: 'How many copies are to be made of a sandbox.' });
export const forkMade = z
  .object({ sandboxes: z.array(sandboxInfo).meta({ description: 'The copies, all running.' }) })
  .meta({ id: 'ForkMade', description: 'Copies of a sandbox.' });

const checkpointId = z.string().min(1).max(64);
export const checkpointInfo = z
  .object({ id: z.string(), createdAt: timestamp, expiresAt: timestamp })
  .meta({ id: 'CheckpointInfo', description: 'A sandbox as it was, with the memory of its programs.' });
export const checkpointInfos = z
  .object({ checkpoints: z.array(checkpointInfo).meta({ description: 'Newest first.' }) })
  .meta({ id: 'CheckpointInfos', description: 'The checkpoints of a sandbox.' });
export const checkpointParams = z.object({ checkpointId });
export const rollbackRequest = z
  .strictObject({
    checkpointId: checkpointId.meta({ description: 'Of a checkpoint that was taken of it.' }),
  })
  .meta({ id: 'RollbackRequest', description: 'The checkpoint at which a sandbox is to go on.' });
export const restoreRequest = z
  .strictObject({
    name: objectName.nullable().optional().meta({
      description: 'Null: none. Default: the one of the sandbox that the checkpoint was taken of.',
    }),
  })
  .meta({
    id: 'RestoreRequest',
    description: 'What the sandbox is to be called that goes on from a checkpoint.',
  });

export const tagsRequest = z
  .strictObject({ tags })
  .meta({ id: 'TagsRequest', description: 'The tags that a sandbox is to have, in the place of its own.' });
export const networkRequest = z
  .strictObject({ network: sandboxShape.network.unwrap() })
  .meta({ id: 'NetworkRequest', description: 'What a sandbox may reach from now on.' });
export const secretHeadersRequest = z
  .strictObject({ secretHeaders: sandboxShape.secretHeaders.unwrap() })
  .meta({
    id: 'SecretHeadersRequest',
    description: 'The headers that are put into requests of a sandbox from now on.',
  });
export const imageMountRequest = z
  .strictObject({
    path: absolutePath,
    imageId: z.string().max(64).optional().meta({ description: 'Default: an empty directory.' }),
  })
  .meta({ id: 'ImageMountRequest', description: 'An image to mount in a sandbox, and where.' });

export const sandboxEvents = z
  .object({
    events: z.array(
      z
        .object({
          time: timestamp,
          kind: z.enum(['exec', 'file', 'limit', 'life', 'network']),
          text: z.string(),
        })
        .meta({ id: 'SandboxEvent', description: 'Something that was noted of a sandbox.' }),
    ),
  })
  .meta({ id: 'SandboxEvents', description: 'What was noted of a sandbox, oldest first.' });
/** A line each of the stream of what happens to sandboxes. */
export const lifeEvent = z
  .object({
    sandboxId: z.string(),
    time: timestamp,
    kind: z.enum([...sandboxStatus.options, 'created', 'placed', 'ready']).meta({
      description:
        'The state it has now, that there is an instance for it, or that its readiness probe succeeded.',
    }),
    reason: endReason.nullable().meta({ description: 'Why it ends, from stopping on.' }),
  })
  .meta({ id: 'LifeEvent', description: 'A state that a sandbox came to.' });

export const volumeParams = z.object({ volume: objectName });
export const volumeInfo = z
  .object({ name: z.string(), id: z.string(), createdAt: timestamp })
  .meta({ id: 'VolumeInfo', description: 'What is known of a volume.' });
export const volumePage = z
  .object({
    volumes: z.array(volumeInfo).meta({ description: 'Newest first.' }),
    nextCursor: z.string().nullable().meta({ description: 'Pass as cursor; null at the end.' }),
  })
  .meta({ id: 'VolumePage', description: 'A part of a list of volumes.' });
const { includeEnded: _, ...page } = pageShape;
export const pageQuery = z.strictObject(page);
const volumePath = z.string().max(4096);
export const volumeFileQuery = z.strictObject({ path: volumePath });
export const volumeDeleteQuery = z.strictObject({
  path: volumePath,
  recursive: z.stringbool().default(false),
});
export const volumeListQuery = z.strictObject({
  path: volumePath.default('/'),
  recursive: z.stringbool().default(false),
});
export const volumeRename = z
  .strictObject({ name: objectName })
  .meta({ id: 'VolumeRename', description: 'What a volume is to be called.' });
export const volumeCopy = z
  .strictObject({
    from: z.array(volumePath).min(1).max(1000),
    to: volumePath.meta({ description: 'What it is to be called, or the directory that it goes into.' }),
    recursive: z.boolean().default(false).meta({ description: 'Directories too, with what is in them.' }),
  })
  .meta({ id: 'VolumeCopy', description: 'What is to be copied within a volume, and where to.' });
export const volumeFiles = z
  .object({
    entries: z.array(
      z
        .object({
          path: z.string().meta({ description: 'From the root of the volume on.' }),
          type: z.enum(['file', 'directory', 'symlink']),
          size: z.int(),
          modifiedAt: timestamp,
        })
        .meta({ id: 'VolumeFile', description: 'A file, directory or link in a volume.' }),
    ),
  })
  .meta({ id: 'VolumeFiles', description: 'What is in a directory of a volume.' });

export const secretParams = z.object({ secret: objectName });
export const secretRequest = z
  .strictObject({ env: environment })
  .meta({ id: 'SecretRequest', description: 'The variables of a secret, in the place of those it has.' });
export const secretInfo = z
  .object({
    name: z.string(),
    keys: z.array(z.string()).meta({ description: 'Names of its variables; values are never told.' }),
    createdAt: timestamp,
    lastUsedAt: timestamp.nullable(),
  })
  .meta({ id: 'SecretInfo', description: 'A secret, without its values.' });
export const secretPage = z
  .object({
    secrets: z.array(secretInfo).meta({ description: 'Newest first.' }),
    nextCursor: z.string().nullable().meta({ description: 'Pass as cursor; null at the end.' }),
  })
  .meta({ id: 'SecretPage', description: 'A part of a list of secrets.' });
export const nothing = z
  .object({})
  .meta({ id: 'Nothing', description: 'It was done, and there is nothing to tell.' });

export const usageAnswer = z
  .object({
    sandboxes: z.array(
      z
        .object({
          id: z.string(),
          memoryBytes: z.int(),
          memoryLimitMiB: z.number().nullable().meta({ description: "Null: the server's own bound." }),
          cpuMs: z.number().meta({ description: 'Time of the processor since it started.' }),
          processes: z
            .int()
            .meta({ description: "As the machine counts them: gVisor's own are among them." }),
          sentBytes: z.int().nullable().meta({
            description:
              'Through its own network, with all headers, since it started; not what goes through its ports. Null where that is not counted.',
          }),
          receivedBytes: z.int().nullable(),
          ports: z
            .object({
              connections: z.int(),
              sentBytes: z.int(),
              receivedBytes: z.int(),
            })
            .meta({
              id: 'PortTraffic',
              description:
                'Through its ports, by tunnels, connect tokens and this interface: connections now, and bytes without what carries them. Since this server has the sandbox.',
            }),
        })
        .meta({ id: 'Usage', description: 'What a sandbox takes of the machine.' }),
    ),
  })
  .meta({ id: 'UsageList', description: 'What each running sandbox takes of the machine.' });
export const startupAnswer = z
  .object({
    startup: z
      .object({
        waited: z.boolean().meta({ description: 'Whether it was given an instance that waited.' }),
        ms: z.number(),
        phases: z
          .record(z.string(), z.number())
          .meta({ description: 'Milliseconds by the names of its parts, which may go on side by side.' }),
      })
      .nullable(),
  })
  .meta({
    id: 'StartupInfo',
    description: 'Where the time of the start of a sandbox went; null while it starts.',
  });

/** Names of the schemas that are requests; the others with an id are answers. */
export const requestSchemaIds: readonly string[] = [
  'VolumeRename',
  'VolumeCopy',
  'SandboxCreate',
  'ProcessStart',
  'KillRequest',
  'ConnectTokenRequest',
  'DirectoryRequest',
  'SnapshotRequest',
  'ForkRequest',
  'RollbackRequest',
  'RestoreRequest',
  'TagsRequest',
  'NetworkRequest',
  'SecretHeadersRequest',
  'ImageMountRequest',
  'SecretRequest',
  'TerminalSize',
  'VolumeMount',
  'PortRequest',
];
