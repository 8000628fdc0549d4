/** `{sandboxUrl}/modbox/api/processes`: processes that outlive the request which starts them. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ProcessId } from '../../ids.ts';
import type { OutputReader, Process, Sandbox } from '../../sandboxes/sandboxes.ts';
import { exitCodeOf } from '../../sandboxes/state.ts';
import { feedStdin, signalGroup, startCommand } from '../http/commands.ts';
import { errorAnswerOf } from '../http/error-answers.ts';
import { EventStream } from '../http/event-stream.ts';
import { commandRequest, killRequest, signalNumbers } from '../http/fields.ts';
import { type StreamName, textFrom } from '../http/output.ts';
import {
  answers,
  content,
  type HttpApp,
  openSandbox,
  type RouteParts,
  sandboxParams,
} from '../http/routes.ts';
import { logsAnswer, logsQuery, processAnswer, processList } from './schemas.ts';

/** Tells background processes from the other execs of a sandbox, also after a restart of the server. */
const PREFIX = 'bg-';
const FOLLOW_BYTES = 64 << 10;

const processParams = sandboxParams.extend({ processId: z.string().max(64) });

export function processRoutes(app: HttpApp, parts: RouteParts): void {
  const common = { tags: ['Processes'], security: [{ sandboxKey: [] }] };

  app.post(
    '/processes',
    {
      schema: {
        ...common,
        operationId: 'startProcess',
        summary: 'Start a process in the background; it runs until it ends, is killed, or the sandbox ends.',
        params: sandboxParams,
        body: commandRequest,
        response: answers({ 201: processAnswer }, 404, 410, 413, 425, 429),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      // Exec ids may be chosen freely by whoever starts the process; this one says how it was started.
      const id = `${PREFIX}${randomUUID()}` as ProcessId;
      const process = await startCommand(sandbox, id, request.body, signal);
      // The input may be longer than the program reads at once: it is fed for as long as the process lives.
      feedStdin(process, request.body.stdin ?? '', parts.closing).catch((error: unknown) => {
        if (!parts.closing.aborted) {
          parts.logger.warn({ sandbox: sandbox.id, process: id, err: error }, 'modbox.stdin-failed');
        }
      });
      return reply.code(201).send(processAnswerOf(process));
    },
  );

  app.get(
    '/processes',
    {
      schema: {
        ...common,
        operationId: 'listProcesses',
        summary: 'Background processes, running or not, oldest first.',
        params: sandboxParams,
        response: answers({ 200: processList }, 404),
      },
    },
    async (request, reply) => {
      const { sandbox } = openSandbox(parts, request, reply);
      const background = sandbox.processes().filter((process) => process.id.startsWith(PREFIX));
      return { processes: background.map(processAnswerOf) };
    },
  );

  app.get(
    '/processes/:processId',
    {
      schema: {
        ...common,
        operationId: 'getProcess',
        summary: 'One background process.',
        params: processParams,
        response: answers({ 200: processAnswer }, 404),
      },
    },
    async (request, reply) => {
      const { sandbox } = openSandbox(parts, request, reply);
      return processAnswerOf(find(sandbox, request.params.processId));
    },
  );

  app.get(
    '/processes/:processId/logs',
    {
      schema: {
        ...common,
        operationId: 'processLogs',
        summary: 'Output from the given offsets on, as far as there is any; also after the process ended.',
        params: processParams,
        querystring: logsQuery,
        response: answers({ 200: logsAnswer }, 404),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const process = find(sandbox, request.params.processId);
      const { stdoutOffset, stderrOffset, maxBytes } = request.query;
      const stdout = await textFrom(process.stdout, stdoutOffset, maxBytes, signal);
      const stderr = await textFrom(process.stderr, stderrOffset, maxBytes, signal);
      return {
        stdout: stdout.text,
        stderr: stderr.text,
        stdoutOffset: stdout.nextOffset,
        stderrOffset: stderr.nextOffset,
        complete:
          process.exit !== undefined &&
          isRead(process.stdout, stdout.nextOffset) &&
          isRead(process.stderr, stderr.nextOffset),
        process: processAnswerOf(process),
      };
    },
  );

  app.get(
    '/processes/:processId/logs/stream',
    {
      schema: {
        ...common,
        operationId: 'followProcessLogs',
        summary:
          'Output from the given offsets on, as it comes: events stdout, stderr, then exit or error (StreamEvents).',
        params: processParams,
        querystring: logsQuery,
        response: answers(
          {
            200: content('text/event-stream', z.string(), 'Server-sent events; ids resume by Last-Event-ID.'),
          },
          404,
        ),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const process = find(sandbox, request.params.processId);
      const offsets = resumeOffsets(request.headers['last-event-id']) ?? {
        stdout: request.query.stdoutOffset,
        stderr: request.query.stderrOffset,
      };
      const events = new EventStream(reply, signal);
      try {
        await followLogs(process, offsets, events, signal);
        const exit = await process.wait(signal);
        await events.send('exit', {
          exitCode: exitCodeOf(exit),
          durationMs: Math.max(0, Date.now() - process.createdAtMs),
          timedOut: exit.timedOut,
        });
      } catch (error) {
        if (!signal.aborted) await events.send('error', errorAnswerOf(error).body);
      } finally {
        events.end();
      }
    },
  );

  app.post(
    '/processes/:processId/kill',
    {
      schema: {
        ...common,
        operationId: 'killProcess',
        summary: 'Send a signal, SIGTERM unless told otherwise. No effect on a process that ended.',
        params: processParams,
        body: killRequest.nullish(),
        response: answers({ 200: processAnswer }, 404, 413),
      },
    },
    async (request, reply) => {
      const { sandbox } = openSandbox(parts, request, reply);
      const process = find(sandbox, request.params.processId);
      await signalGroup(process, signalNumbers[request.body?.signal ?? 'SIGTERM']);
      return processAnswerOf(process);
    },
  );
}

function find(sandbox: Sandbox, id: string): Process {
  const notFound = new SkerryError(
    'not-found',
    `The sandbox has no background process ${JSON.stringify(id)}.`,
  );
  if (!id.startsWith(PREFIX)) throw notFound;
  try {
    return sandbox.process(id as ProcessId); // any text may be asked for
  } catch (error) {
    throw error instanceof SkerryError && error.code === 'not-found' ? notFound : error;
  }
}

const isRead = (reader: OutputReader, offset: number) => reader.ended && offset >= reader.length;

/** Both streams to their ends; each event's id holds the offsets to go on from. */
async function followLogs(
  process: Process,
  offsets: Record<StreamName, number>,
  events: EventStream,
  signal: AbortSignal,
): Promise<void> {
  const next = { ...offsets };
  const follow = async (name: StreamName) => {
    const reader = process[name];
    const decoder = new TextDecoder();
    for await (const chunk of reader.read(next[name], signal)) {
      for (let at = 0; at < chunk.length; at += FOLLOW_BYTES) {
        const piece = chunk.subarray(at, at + FOLLOW_BYTES);
        const text = decoder.decode(piece, { stream: true });
        next[name] += piece.length;
        if (text !== '') await events.send(name, { text }, `${next.stdout}-${next.stderr}`);
      }
    }
    const rest = decoder.decode();
    if (rest !== '') await events.send(name, { text: rest });
  };
  await Promise.all([follow('stdout'), follow('stderr')]);
}

/** The offsets an event's id stands for. */
function resumeOffsets(id: string | string[] | undefined): Record<StreamName, number> | undefined {
  const match = /^(\d{1,15})-(\d{1,15})$/.exec(typeof id === 'string' ? id : '');
  return match ? { stdout: Number(match[1]), stderr: Number(match[2]) } : undefined;
}

const processAnswerOf = (process: Process) => ({
  processId: process.id,
  argv: [...process.argv],
  status: process.exit === undefined ? ('running' as const) : ('exited' as const),
  exitCode: process.exit === undefined ? null : exitCodeOf(process.exit),
  timedOut: process.exit?.timedOut ?? false,
  startedAt: new Date(process.createdAtMs).toISOString(),
});
