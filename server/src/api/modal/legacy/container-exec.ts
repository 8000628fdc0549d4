/**
 * The exec of Python clients up to 1.3, which goes through the control plane. Written from `modal/container_process.py` and `modal/io_streams.py` of 1.0.5
 * and 1.3.5.
 */
import type { ServiceImpl } from '@connectrpc/connect';
import { newProcessId, type TaskId } from '../../../ids.ts';
import { withDeadline } from '../../../platform/wait.ts';
import type { Process, Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import type { ExecSpec } from '../../../sandboxes/spec.ts';
import { exitCodeOf } from '../../../sandboxes/state.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { ExecOutputOption, FileDescriptor } from '../gen/modal/common_pb.ts';
import type { ContainerExecRequest } from '../gen/modal/containers_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import {
  argv,
  execId,
  execWorkdir,
  integer,
  invalid,
  MAX_LIFETIME_S,
  pty,
  ptyEnvironment,
  secretSources,
} from '../rpc/fields.ts';
import { waitMs } from '../rpc/wire-time.ts';
import { EndingExecs } from './ending-execs.ts';
import type { KeptExecs } from './kept-execs.ts';
import { NumberedInputs } from './numbered-inputs.ts';
import { wholeCharacters } from './utf8-chunks.ts';

export interface ContainerExecHandlerDeps {
  readonly sandboxes: Pick<Sandboxes, 'getByTask'>;
  readonly legacyExecs: KeptExecs;
  readonly logger: Logger;
}

const MAX_WAIT_SECONDS = 600;

export function containerExecHandlers(
  deps: ContainerExecHandlerDeps,
): Partial<ServiceImpl<typeof ModalClient>> {
  const { sandboxes, legacyExecs, logger } = deps;
  const inputs = new NumberedInputs(legacyExecs);
  const ending = new EndingExecs(legacyExecs, logger);
  ending.resume(sandboxes);

  // Looking up what is no id finds nothing.
  const byTask = (taskId: string): Sandbox => sandboxes.getByTask(taskId as TaskId);

  /** Exec ids of this API name their task, so they need no table. */
  const find = (id: string): { readonly sandbox: Sandbox; readonly process: Process } => {
    const [taskId = '', process = ''] = id.split('.', 2);
    const sandbox = byTask(taskId);
    return { sandbox, process: sandbox.process(execId(process)) };
  };

  return {
    async containerExec(request, context) {
      const sandbox = byTask(request.taskId);
      const id = newProcessId();
      if (request.terminateContainerOnExit) ending.add({ taskId: sandbox.taskId, processId: id });
      const process = await sandbox.exec(id, toExecSpec(request), context.signal);
      if (request.terminateContainerOnExit) ending.watch(sandbox, process);
      return { execId: `${sandbox.taskId}.${process.id}` };
    },

    async *containerExecGetOutput(request, context) {
      const { sandbox, process } = find(request.execId);
      const stream = request.fileDescriptor === FileDescriptor.STDERR ? process.stderr : process.stdout;
      const deadline = AbortSignal.timeout(waitMs(request.timeout, MAX_WAIT_SECONDS));
      const signal = AbortSignal.any([context.signal, deadline]);
      const release = sandbox.hold();
      // A batch's index is the offset of the stream after it: where the next request goes on.
      let offset = Number(request.lastBatchIndex);
      if (!Number.isSafeInteger(offset)) throw invalid('last_batch_index is out of range.');
      const decoder = new TextDecoder();
      try {
        // An empty message tells a terminal's client that the process runs.
        if (offset === 0) yield { items: [item(request.fileDescriptor, new Uint8Array(), '')] };
        for await (const chunk of wholeCharacters(stream.read(offset, signal))) {
          offset += chunk.length;
          const message = request.getRawBytes ? '' : decoder.decode(chunk);
          const bytes = request.getRawBytes ? chunk : new Uint8Array();
          yield { items: [item(request.fileDescriptor, bytes, message)], batchIndex: BigInt(offset) };
        }
        const exit = await process.wait(signal);
        yield { exitCode: exitCodeOf(exit), batchIndex: BigInt(offset) };
      } catch (error) {
        // The client asks again when its time is over.
        if (!deadline.aborted || context.signal.aborted) throw error;
      } finally {
        release();
      }
    },

    async containerExecPutInput({ execId: id, input }, context) {
      if (!input) throw invalid('The request has no input.');
      const { sandbox, process } = find(id);
      sandbox.touch();
      const exec = { taskId: sandbox.taskId, processId: process.id };
      await inputs.write(exec, process, input, context.signal);
      return {};
    },

    async containerExecWait({ execId: id, timeout }, context) {
      const { process } = find(id);
      const exit =
        process.exit ??
        (await withDeadline(process.wait(context.signal), waitMs(timeout, MAX_WAIT_SECONDS), context.signal));
      return exit ? { completed: true, exitCode: exitCodeOf(exit) } : { completed: false };
    },
  };
}

const item = (fileDescriptor: FileDescriptor, messageBytes: Uint8Array, message: string) => ({
  fileDescriptor,
  messageBytes,
  message,
});

function toExecSpec(request: ContainerExecRequest): ExecSpec {
  const command = argv(request.command, 'command');
  if (!command[0]) throw invalid('command must name a program.');
  return {
    argv: command,
    secretSources: [...ptyEnvironment(request.ptyInfo), ...secretSources(request.secretIds, [], [])],
    workdir: execWorkdir(request.workdir),
    timeoutMs: request.timeoutSecs
      ? integer(request.timeoutSecs, 'timeout_secs', 1, MAX_LIFETIME_S) * 1000
      : undefined,
    pty: pty(request.ptyInfo),
    stdout: request.stdoutOutput === ExecOutputOption.DEVNULL ? 'null' : 'pipe',
    stderr: request.stderrOutput === ExecOutputOption.DEVNULL ? 'null' : 'pipe',
    failureIsExit: true,
  };
}
