/** `/v1/sandboxes/<id>/processes`: programs in a sandbox, their output and their input. The main program's id is `entrypoint`. */
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { ENTRYPOINT_PROCESS_ID, newProcessId, type ProcessId } from '../../ids.ts';
import type { Process, Sandbox } from '../../sandboxes/sandboxes.ts';
import { exitCodeOf, type ProcessExit } from '../../sandboxes/state.ts';
import type { Secrets } from '../../secrets/secrets.ts';
import { bodyOf } from '../http/bounded.ts';
import {
  feedStdin,
  isFileHelper,
  rejectIfSandboxEnded,
  requireRunning,
  signalGroup,
  startCommand,
  toldWhy,
} from '../http/commands.ts';
import { errorAnswerOf } from '../http/error-answers.ts';
import { killRequest, signalNumbers } from '../http/fields.ts';
import { followToExit, type Output, readUpTo, type StreamName } from '../http/output.ts';
import {
  answers,
  content,
  type HttpApp,
  openSandbox,
  type RouteParts,
  sandboxParams,
} from '../http/routes.ts';
import { FRAMES_TYPE, FrameStream } from './frames.ts';
import { secretSources } from './sandbox-spec.ts';
import {
  outputQuery,
  processInfo,
  processInfos,
  processStart,
  resizeRequest,
  stdinQuery,
  stdinTaken,
} from './schemas.ts';

const STDIN_CHUNK_BYTES = 256 << 10;
const processParams = sandboxParams.extend({ processId: z.string().max(64) });

export function processRoutes(app: HttpApp, parts: RouteParts, secrets: Pick<Secrets, 'lookup'>): void {
  const common = { tags: ['Processes'], security: [{ sandboxKey: [] }] };

  app.post(
    '/processes',
    {
      schema: {
        ...common,
        operationId: 'startProcess',
        summary:
          'Start a program; it goes on, whoever listens, until it ends, is killed, or the sandbox ends.',
        params: sandboxParams,
        body: processStart,
        response: answers({ 201: processInfo }, 404, 409, 410, 413, 425, 429),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const { body } = request;
      const id = body.id === undefined ? newProcessId() : (body.id as ProcessId); // the caller's choice
      const process = await startCommand(sandbox, id, body, signal, {
        secretSources: secretSources(secrets, sandbox.spec.environmentId, body),
        pty: body.pty,
      });
      // The input may be longer than the program reads at once: it is fed for as long as the process lives.
      feedStdin(process, body.stdin ?? '', parts.closing, body.keepStdin).catch((error: unknown) => {
        if (!parts.closing.aborted) {
          parts.logger.warn({ sandbox: sandbox.id, process: id, err: error }, 'rest.stdin-failed');
        }
      });
      return reply.code(201).send(processInfoOf(process));
    },
  );

  app.get(
    '/processes',
    {
      schema: {
        ...common,
        operationId: 'listProcesses',
        summary: 'Programs that were started in it, running or not, oldest first.',
        params: sandboxParams,
        response: answers({ 200: processInfos }, 404),
      },
    },
    async (request, reply) => {
      const { sandbox } = openSandbox(parts, request, reply);
      const all = [...(sandbox.entrypoint ? [sandbox.entrypoint] : []), ...sandbox.processes()];
      return { processes: all.filter((process) => !isFileHelper(process)).map(processInfoOf) };
    },
  );

  app.get(
    '/processes/:processId',
    {
      schema: {
        ...common,
        operationId: 'getProcess',
        summary: 'One program.',
        params: processParams,
        response: answers({ 200: processInfo }, 404, 410, 425),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      return processInfoOf(await find(sandbox, request.params.processId, signal));
    },
  );

  app.get(
    '/processes/:processId/output',
    {
      schema: {
        ...common,
        operationId: 'followOutput',
        summary:
          'Its output from the given offsets on, as it comes, then its exit: frames of kind (1 byte), length (4 bytes, big-endian) and bytes. 1 stdout, 2 stderr, 3 exit, 4 error, 0 nothing.',
        params: processParams,
        querystring: outputQuery,
        response: answers(
          { 200: content(FRAMES_TYPE, z.any().meta({ type: 'string', format: 'binary' }), 'Frames.') },
          404,
          410,
          425,
        ),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const { follow, streams, ...offsets } = request.query;
      const names =
        streams === 'both' ? (['stdout', 'stderr'] as const) : streams === 'none' ? [] : [streams];
      const from = Object.fromEntries(names.map((name) => [name, offsets[name]]));
      const output = await outputOf(sandbox, request.params.processId, signal);
      const frames = new FrameStream(reply, signal);
      try {
        if (follow || output.exit !== undefined) {
          const send = async (stream: StreamName, bytes: Uint8Array) => {
            await frames.send(stream, bytes);
            return true;
          };
          const exit = await followToExit(output, send, signal, from);
          // Who asks only for what is there is told no more of its end than that.
          if (follow) {
            const isMain = request.params.processId === ENTRYPOINT_PROCESS_ID;
            await rejectIfSandboxEnded(sandbox, exit, signal, isMain);
          }
          frames.tell('exit', exitOf(exit));
        } else {
          for (const stream of names) {
            const reader = output[stream];
            const there = readUpTo(reader, offsets[stream], reader.length, signal);
            for await (const bytes of there) await frames.send(stream, bytes);
          }
        }
      } catch (error) {
        // The status line is out: what went wrong is the last frame. Who is cut off by the server's end may come back.
        if (!signal.aborted) frames.tell('error', errorAnswerOf(error).body);
      } finally {
        frames.end();
      }
    },
  );

  app.post(
    '/processes/:processId/signal',
    {
      schema: {
        ...common,
        operationId: 'signalProcess',
        summary: 'Send a signal, SIGTERM unless told otherwise. No effect on a program that ended.',
        params: processParams,
        body: killRequest.nullish(),
        response: answers({ 200: processInfo }, 404, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const process = await find(sandbox, request.params.processId, signal);
      await signalGroup(process, signalNumbers[request.body?.signal ?? 'SIGTERM']);
      return processInfoOf(process);
    },
  );

  app.post(
    '/processes/:processId/resize',
    {
      schema: {
        ...common,
        operationId: 'resizeTerminal',
        summary: 'Tell it the size of its terminal.',
        params: processParams,
        body: resizeRequest,
        response: answers({ 200: processInfo }, 404, 409, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const process = await find(sandbox, request.params.processId, signal);
      await process.resize(request.body);
      return processInfoOf(process);
    },
  );

  app.register(async (scope: HttpApp) => {
    // Input is bytes, whatever type its sender gives it.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    scope.post(
      '/processes/:processId/stdin',
      {
        bodyLimit: Number.MAX_SAFE_INTEGER, // nothing is held
        schema: {
          ...common,
          operationId: 'writeStdin',
          summary:
            'Bytes of its input; answers when it has taken them. May be repeated with the same offset.',
          params: processParams,
          querystring: stdinQuery,
          consumes: ['application/octet-stream'],
          body: z.any().meta({ type: 'string', format: 'binary' }),
          response: answers({ 200: stdinTaken }, 404, 409, 410, 425),
        },
      },
      async (request, reply) => {
        const { sandbox, signal } = openSandbox(parts, request, reply);
        const process = await find(sandbox, request.params.processId, signal);
        let { offset } = request.query;
        try {
          for await (const piece of bodyOf(request)) {
            for (let at = 0; at < piece.length; at += STDIN_CHUNK_BYTES) {
              const chunk = piece.subarray(at, at + STDIN_CHUNK_BYTES);
              await process.writeStdin(offset, chunk, signal);
              offset += chunk.length;
            }
          }
          if (request.query.end) await process.closeStdin(signal);
        } catch (error) {
          throw await toldWhy(error, sandbox, signal, ' meanwhile');
        }
        return { accepted: offset };
      },
    );
  });
}

/** @throws SkerryError `not-found`; for the main program of one that is starting or ended without, as `requireRunning` */
async function find(sandbox: Sandbox, id: string, signal: AbortSignal): Promise<Process> {
  if (id !== ENTRYPOINT_PROCESS_ID) return sandbox.process(id as ProcessId); // any text may be asked for
  requireCommand(sandbox);
  if (!sandbox.entrypoint) await requireRunning(sandbox, signal);
  if (!sandbox.entrypoint) throw new SkerryError('not-ready', 'The sandbox is still starting.');
  return sandbox.entrypoint;
}

/** The main program's can be read before it starts, also of a sandbox that never came to start it. */
async function outputOf(sandbox: Sandbox, id: string, signal: AbortSignal): Promise<Output> {
  if (id !== ENTRYPOINT_PROCESS_ID) return find(sandbox, id, signal);
  requireCommand(sandbox);
  return {
    stdout: sandbox.stdout,
    stderr: sandbox.stderr,
    get exit() {
      return sandbox.entrypoint?.exit;
    },
    async wait(until) {
      if (sandbox.entrypoint?.exit) return sandbox.entrypoint.exit;
      await sandbox.waitUntilRunning(until);
      if (sandbox.entrypoint) return sandbox.entrypoint.wait(until);
      throw new SkerryError('not-ready', 'The sandbox is still starting.');
    },
  };
}

function requireCommand({ spec }: Sandbox): void {
  if (spec.noEntrypoint) {
    throw new SkerryError('not-found', 'The sandbox was made without a command: it has no main program.');
  }
}

const exitOf = (exit: ProcessExit) => ({
  exitCode: exitCodeOf(exit),
  signal: exit.kind === 'signal' ? exit.signal : null,
  timedOut: exit.timedOut,
});

const processInfoOf = (process: Process) => ({
  id: process.id,
  argv: [...process.argv],
  startedAt: new Date(process.createdAtMs).toISOString(),
  exit: process.exit ? exitOf(process.exit) : null,
});
