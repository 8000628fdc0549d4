/**
 * Uploads to a process's input that go over one client stream (`TaskExecStdinWriteStream`). Only the stream's own end message closes the input; a
 * broken stream leaves it open, so that the client can ask how far it came and go on from there with another.
 */
import { Code, ConnectError } from '@connectrpc/connect';
import { unlessAborted } from '../../../platform/wait.ts';
import type { Process, Sandbox } from '../../../sandboxes/sandboxes.ts';
import type { TaskExecStdinWriteStreamRequest } from '../gen/modal/task_command_router_pb.ts';
import { byteOffset, invalid } from '../rpc/fields.ts';

interface OpenStream {
  readonly evict: AbortController;
  /** Settles once nothing more is written; never rejects. */
  readonly done: Promise<void>;
}

/** How a start message of a stream is turned into the process it is for. */
export type FindProcess = (
  taskId: string,
  execId: string,
) => { readonly sandbox: Sandbox; readonly process: Process };

export class StdinStreams {
  readonly #open = new Map<Process, OpenStream>();

  /** Ends the stream that is open for the process, if any, and waits until it writes no more: then the count of accepted bytes is final. */
  async evict(process: Process): Promise<void> {
    const open = this.#open.get(process);
    open?.evict.abort(new ConnectError('Another call took over this input.', Code.Canceled));
    await open?.done;
  }

  /** Takes a whole stream. @throws SkerryError `invalid-argument` (order of messages, offsets), `stdin-closed` */
  async receive(
    requests: AsyncIterable<TaskExecStdinWriteStreamRequest>,
    find: FindProcess,
    signal: AbortSignal,
  ): Promise<void> {
    const messages = requests[Symbol.asyncIterator]();
    const first = await messages.next();
    if (first.done || first.value.payload.case !== 'start')
      throw invalid('The stream must begin with a start message.');
    const { taskId, execId, offset } = first.value.payload.value;
    const { sandbox, process } = find(taskId, execId);
    const start = byteOffset(offset);
    await this.evict(process);
    const evict = new AbortController();
    const writing = this.#write(process, messages, start, AbortSignal.any([signal, evict.signal]), sandbox);
    const open = {
      evict,
      done: writing.then(
        () => {},
        () => {},
      ),
    };
    this.#open.set(process, open);
    try {
      await writing;
    } finally {
      if (this.#open.get(process) === open) this.#open.delete(process);
    }
  }

  async #write(
    process: Process,
    messages: AsyncIterator<TaskExecStdinWriteStreamRequest>,
    start: number,
    signal: AbortSignal,
    sandbox: Sandbox,
  ): Promise<void> {
    let offset = start;
    for (;;) {
      const next = await unlessAborted(messages.next(), signal);
      // The stream broke off without its end message.
      if (next.done) return;
      const { payload } = next.value;
      switch (payload.case) {
        case 'data':
          if (payload.value.length === 0) break;
          sandbox.touch();
          await process.writeStdin(offset, payload.value, signal);
          offset += payload.value.length;
          break;
        case 'end':
          await process.closeStdin(signal);
          return;
        default:
          throw invalid('After its start message a stream holds data and one end message.');
      }
    }
  }
}
