/** `POST {sandboxUrl}/modbox/api/exec`: a command whose caller waits for it, answered whole or as server-sent events. */
import { z } from 'zod';
import { newProcessId } from '../../ids.ts';
import type { Process, Sandbox } from '../../sandboxes/sandboxes.ts';
import { exitCodeOf, type ProcessExit } from '../../sandboxes/state.ts';
import { feedStdin, rejectIfSandboxEnded, SIGKILL, signalGroup, startCommand } from '../http/commands.ts';
import { errorAnswerOf } from '../http/error-answers.ts';
import { EventStream } from '../http/event-stream.ts';
import { type CommandRequest, commandRequest } from '../http/fields.ts';
import { followToExit, HeadBuffer, type OutputHandler } from '../http/output.ts';
import {
  answers,
  content,
  type HttpApp,
  openSandbox,
  type RouteParts,
  sandboxParams,
} from '../http/routes.ts';
import { execAnswer, execRequest } from './schemas.ts';

export function execRoutes(app: HttpApp, parts: RouteParts): void {
  const common = { tags: ['Exec'], security: [{ sandboxKey: [] }], params: sandboxParams };

  app.post(
    '/exec',
    {
      schema: {
        ...common,
        operationId: 'exec',
        summary: 'Run a command to its end. A caller that hangs up ends the command.',
        body: execRequest,
        response: answers({ 200: execAnswer }, 404, 410, 413, 425, 429),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const startedAt = performance.now();
      const process = await startCommand(sandbox, newProcessId(), request.body, signal);
      const limit = request.body.maxOutputBytes;
      const output = { stdout: new HeadBuffer(limit), stderr: new HeadBuffer(limit) };
      const exit = await runToExit(
        sandbox,
        process,
        request.body,
        (name, chunk) => output[name].add(chunk),
        signal,
      );
      return {
        exitCode: exitCodeOf(exit),
        stdout: output.stdout.text(),
        stderr: output.stderr.text(),
        durationMs: Math.round(performance.now() - startedAt),
        truncated: output.stdout.truncated || output.stderr.truncated,
        timedOut: exit.timedOut,
      };
    },
  );

  app.post(
    '/exec/stream',
    {
      schema: {
        ...common,
        operationId: 'execStream',
        summary:
          'Run a command and get its output as it comes: events stdout, stderr, then exit or error (StreamEvents).',
        body: commandRequest,
        response: answers(
          { 200: content('text/event-stream', z.string(), 'Server-sent events.') },
          404,
          410,
          413,
          425,
          429,
        ),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const startedAt = performance.now();
      const process = await startCommand(sandbox, newProcessId(), request.body, signal);
      const events = new EventStream(reply, signal);
      const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
      try {
        const exit = await runToExit(
          sandbox,
          process,
          request.body,
          async (name, chunk) => {
            const text = decoders[name].decode(chunk, { stream: true });
            if (text !== '') await events.send(name, { text });
            return true;
          },
          signal,
        );
        for (const name of ['stdout', 'stderr'] as const) {
          const text = decoders[name].decode();
          if (text !== '') await events.send(name, { text });
        }
        const durationMs = Math.round(performance.now() - startedAt);
        await events.send('exit', { exitCode: exitCodeOf(exit), durationMs, timedOut: exit.timedOut });
      } catch (error) {
        // The status line is out: what went wrong is the last event.
        if (!signal.aborted) await events.send('error', errorAnswerOf(error).body);
      } finally {
        events.end();
      }
    },
  );
}

/** Feeds and follows a process until its end. When the caller hangs up or the output cannot be passed on, it is killed. */
async function runToExit(
  sandbox: Sandbox,
  process: Process,
  request: CommandRequest,
  onOutput: OutputHandler,
  signal: AbortSignal,
): Promise<ProcessExit> {
  const fed = feedStdin(process, request.stdin ?? '', signal);
  fed.catch(() => {}); // awaited below, unless following fails first
  await using last = new AsyncDisposableStack();
  last.defer(() => signalGroup(process, SIGKILL));
  const exit = await followToExit(process, onOutput, signal);
  await rejectIfSandboxEnded(sandbox, exit, signal);
  return exit;
}
