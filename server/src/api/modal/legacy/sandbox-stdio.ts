/** Input and output of a sandbox's own program as V1 has them, through the control plane. Facts: docs/protocol/control-plane.md, section 10. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { Sandboxes } from '../../../sandboxes/sandboxes.ts';
import { toNs } from '../control-plane/log-history.ts';
import { followText } from '../control-plane/log-text.ts';
import { logItem, MAX_STREAM_S } from '../control-plane/logs.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { entrypointOf } from '../router/stdin.ts';
import { callOf } from '../rpc/call.ts';
import { parseSandboxId } from '../rpc/fields.ts';
import { waitMs } from '../rpc/wire-time.ts';
import type { KeptExecs } from './kept-execs.ts';
import { KeyedInputs } from './keyed-inputs.ts';

export interface SandboxStdioHandlerDeps {
  readonly sandboxes: Pick<Sandboxes, 'get'>;
  readonly legacyExecs: KeptExecs;
  readonly now: () => number;
}

export function sandboxStdioHandlers({
  sandboxes,
  legacyExecs,
  now,
}: SandboxStdioHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const inputs = new KeyedInputs(legacyExecs);
  return {
    async *sandboxGetLogs({ sandboxId, fileDescriptor, timeout, lastEntryId }, { signal: left }) {
      const sandbox = sandboxes.get(parseSandboxId(sandboxId));
      const stderr = fileDescriptor === FileDescriptor.STDERR;
      // JavaScript begins with "0-0", the others with "".
      const offset = /^\d{1,15}$/.test(lastEntryId) ? Number(lastEntryId) : 0;
      const deadline = AbortSignal.timeout(waitMs(timeout, MAX_STREAM_S));
      const output = stderr ? sandbox.stderr : sandbox.stdout;
      let end = offset;
      try {
        for await (const { text: data, endOffset } of followText(
          output,
          offset,
          AbortSignal.any([left, deadline]),
        )) {
          end = endOffset;
          yield {
            taskId: sandbox.taskId,
            sandboxId: sandbox.id,
            entryId: String(end),
            items: [logItem(toNs(now()), stderr ? FileDescriptor.STDERR : FileDescriptor.STDOUT, data)],
          };
        }
      } catch (error) {
        if (deadline.aborted && !left.aborted) return;
        throw error;
      }
      yield { taskId: sandbox.taskId, sandboxId: sandbox.id, entryId: String(end), eof: true };
    },

    async sandboxStdinWrite({ sandboxId, input: data, eof }, context) {
      const sandbox = sandboxes.get(parseSandboxId(sandboxId));
      const process = await entrypointOf(sandbox, context.signal);
      sandbox.touch();
      const asked = context.requestHeader.get('x-idempotency-key');
      const key = asked ? `${callOf(context).principal}/${asked}` : undefined;
      const exec = { taskId: sandbox.taskId, processId: process.id };
      await inputs.write(exec, process, { key, data, eof }, context.signal);
      return {};
    },
  };
}
