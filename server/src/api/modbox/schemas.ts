/**
 * Every message of the Modbox REST interface, once: requests are validated against these schemas, answers are serialised through them, the OpenAPI document
 * is made from them (`modbox-api.ts`), and so are the types of the `modbox-sdk` package (`modbox-sdk/scripts/generate-types.ts`).
 */
import { z } from 'zod';
import { isSandboxId } from '../../ids.ts';
import {
  commandShape,
  DEFAULT_OUTPUT_BYTES,
  eitherForm,
  eitherFormError,
  endReason,
  environment,
  environmentBounds,
  errorBody,
  MAX_COPIES,
  MAX_OUTPUT_BYTES,
  MAX_TTL_SECONDS,
  offset,
  pageShape,
  sandboxShape,
  sandboxStatus,
  timestamp,
} from '../http/fields.ts';

export const DEFAULT_TTL_SECONDS = 300;

/** The caller's own name for a sandbox: printable, and not of a sandbox id's shape, which the same URLs accept. */
export const taskIdSchema = z
  .string()
  .min(1)
  .max(128)
  .refine((id) => !/\p{C}/u.test(id), 'must not contain control characters')
  .refine((id) => id !== '.' && id !== '..', 'must not be a dot segment, URLs drop those')
  .refine((id) => !isSandboxId(id), 'must not have the shape of a sandbox id');
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
    ...sandboxShape,
  })
  .refine(({ idleAction, ttlMode }) => idleAction === undefined || ttlMode === 'idle', {
    error: 'is for ttlMode idle',
    path: ['idleAction'],
  })
  .meta({ id: 'ProvisionRequest' });
export type ProvisionRequest = z.output<typeof provisionRequest>;

export const sandboxAnswer = z
  .object({
    taskId: z
      .string()
      .meta({ description: "The caller's id; the sandbox id where the sandbox was made without one." }),
    sandboxId: z.string(),
    status: sandboxStatus,
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

const checkpointId = z.string().meta({ description: 'sn-…' });
export const checkpointAnswer = z
  .object({ checkpointId, createdAt: timestamp, expiresAt: timestamp })
  .meta({ id: 'Checkpoint' });
export type CheckpointAnswer = z.output<typeof checkpointAnswer>;
export const checkpointList = z
  .object({ checkpoints: z.array(checkpointAnswer).meta({ description: 'Newest first.' }) })
  .meta({ id: 'CheckpointList' });
export const rollbackRequest = z
  .strictObject({
    checkpointId: z.string().min(1).max(64).meta({ description: 'Of a checkpoint that was taken of it.' }),
  })
  .meta({ id: 'RollbackRequest' });

export const listQuery = z.strictObject(pageShape);
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

export const execRequest = z
  .strictObject({
    ...commandShape,
    maxOutputBytes: z.int().min(0).max(MAX_OUTPUT_BYTES).default(DEFAULT_OUTPUT_BYTES).meta({
      description: 'Kept of each stream, from its start; what is beyond is dropped and truncated says so.',
    }),
  })
  .refine(eitherForm, eitherFormError)
  .meta({ id: 'ExecRequest' });
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
/** Names of the schemas that are requests; the others with an id are answers. */
export const requestSchemaIds: readonly string[] = [
  'ProvisionRequest',
  'ForkRequest',
  'RollbackRequest',
  'ExecRequest',
  'CommandRequest',
  'KillRequest',
  'ConnectTokenRequest',
];
