/**
 * The file API of Python clients up to 1.5 (`Sandbox.open`, `ls`, `mkdir`, `rm`, `watch`): each operation is started by one RPC and its answer fetched by
 * another. Written from `modal/file_io.py` of 1.0.5, 1.3.5 and 1.5.5.
 */
import { posix } from 'node:path';
import type { ServiceImpl } from '@connectrpc/connect';
import type { TaskId } from '../../../ids.ts';
import type { Images } from '../../../images/image.ts';
import type { MachineRoom } from '../../../platform/machine-room.ts';
import { unlessAborted } from '../../../platform/wait.ts';
import { FileError } from '../../../sandboxes/file-error.ts';
import { SandboxFiles } from '../../../sandboxes/files.ts';
import { sandboxEnded } from '../../../sandboxes/sandbox-errors.ts';
import type { Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import { SeekWhence } from '../gen/modal/common_pb.ts';
import type { ContainerFilesystemExecRequest } from '../gen/modal/containers_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { invalid, text } from '../rpc/fields.ts';
import { waitMs } from '../rpc/wire-time.ts';
import { parseFileMode } from './files/file-mode.ts';
import { type Answer, FileSessions } from './files/file-sessions.ts';
import { OpenFile, type Whence } from './files/open-file.ts';
import { systemErrorCodes } from './files/system-error.ts';
import { watchAnswer } from './files/watch.ts';

export interface FilesystemHandlerDeps {
  readonly sandboxes: Pick<Sandboxes, 'getByTask'>;
  readonly images: Pick<Images, 'get'>;
  /** A directory for the content of open files; emptied at start. */
  readonly fileSpoolDir: string;
  /** What they may fill of the disk. */
  readonly uploadRoom: MachineRoom;
}

const MAX_PATH_BYTES = 4096;
const MAX_ANSWER_SECONDS = 600;
/** Longest watch, seconds; a sandbox does not live longer. */
const MAX_WATCH_SECONDS = 7 * 86_400;

type Request = ContainerFilesystemExecRequest['fileExecRequestOneof'];

export function filesystemHandlers(deps: FilesystemHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const sessions = new FileSessions(deps.fileSpoolDir);
  const { uploadRoom: room } = deps;
  return {
    containerFilesystemExec({ taskId, fileExecRequestOneof: request }) {
      const sandbox = deps.sandboxes.getByTask(taskId as TaskId); // looking up what is no id finds nothing
      if (sandbox.result) throw sandboxEnded(sandbox);
      sandbox.touch();
      if (request.case === 'fileOpenRequest') {
        const { descriptor, answer } = openFile(sandbox, request.value);
        return { execId: sessions.register(sandbox, answer), fileDescriptor: descriptor };
      }
      return { execId: sessions.register(sandbox, start(sandbox, request)) };
    },

    async *containerFilesystemExecGetOutput({ execId, timeout }, context) {
      const { sandbox, answer } = sessions.operation(execId);
      const deadline = AbortSignal.timeout(waitMs(timeout, MAX_ANSWER_SECONDS));
      const signal = AbortSignal.any([context.signal, deadline]);
      const release = sandbox.hold();
      let batchIndex = 0n;
      let begun = false;
      try {
        const { chunks } = await unlessAborted(answer, signal);
        begun = true;
        for await (const chunk of chunks(signal)) {
          batchIndex += 1n;
          yield { output: [chunk], batchIndex };
        }
      } catch (error) {
        // The client asks again when its time is over.
        if (deadline.aborted && !context.signal.aborted) return;
        if (!(error instanceof FileError)) throw error;
        batchIndex += 1n;
        yield {
          error: { errorCode: systemErrorCodes[error.fault], errorMessage: error.message },
          batchIndex,
        };
      } finally {
        release();
      }
      yield { eof: true, batchIndex: batchIndex + 1n };
      // The JavaScript client up to 0.8 asks ten times more for what failed, and raises the error of the last answer.
      if (begun) sessions.forget(execId);
    },
  };

  function openFile(sandbox: Sandbox, request: { readonly path: string; readonly mode: string }) {
    const mode = parseFileMode(request.mode);
    const path = resolve(sandbox, request.path);
    const files = filesOf(sandbox);
    const { descriptor, opened } = sessions.open(sandbox, (spoolPath) =>
      OpenFile.open({ files, path, mode, spoolPath, room }, unending),
    );
    const answer = opened.then(() => {
      sandbox.logVerbose('file', `Opened file '${request.path}': ${descriptor}`);
      return nothing;
    });
    return { descriptor, answer };
  }

  /** @throws SkerryError at once for what no operation can be started for */
  function start(sandbox: Sandbox, request: Exclude<Request, { case: 'fileOpenRequest' }>): Promise<Answer> {
    const files = filesOf(sandbox);
    switch (request.case) {
      case 'fileReadRequest': {
        const { fileDescriptor, n } = request.value;
        return sessions.use(sandbox, fileDescriptor, (file) => range(file, file.read(n)));
      }
      case 'fileReadLineRequest':
        return sessions.use(sandbox, request.value.fileDescriptor, async (file) =>
          range(file, await file.readLine()),
        );
      case 'fileWriteRequest': {
        const { fileDescriptor, data } = request.value;
        const write = async (file: OpenFile) => {
          await file.write(data);
          sandbox.logVerbose('file', `Wrote to file: ${fileDescriptor}`);
          return nothing;
        };
        return sessions.use(sandbox, fileDescriptor, write, { adding: data.length });
      }
      case 'fileFlushRequest':
        return sessions.use(sandbox, request.value.fileDescriptor, async (file) => {
          await file.flush(unending);
          return nothing;
        });
      case 'fileSeekRequest': {
        const { fileDescriptor, offset, whence } = request.value;
        const from = toWhence(whence);
        return sessions.use(sandbox, fileDescriptor, (file) => {
          file.seek(offset, from);
          return nothing;
        });
      }
      case 'fileDeleteBytesRequest': {
        const { fileDescriptor, startInclusive, endExclusive } = request.value;
        return sessions.use(sandbox, fileDescriptor, async (file) => {
          await file.splice(startInclusive, endExclusive, new Uint8Array());
          return nothing;
        });
      }
      case 'fileWriteReplaceBytesRequest': {
        const { fileDescriptor, startInclusive, endExclusive, data } = request.value;
        const replace = async (file: OpenFile) => {
          await file.splice(startInclusive, endExclusive, data);
          return nothing;
        };
        return sessions.use(sandbox, fileDescriptor, replace, { adding: data.length });
      }
      case 'fileCloseRequest': {
        const { fileDescriptor } = request.value;
        const close = async (file: OpenFile) => {
          await file.close(unending);
          sandbox.logVerbose('file', `Closed file: ${fileDescriptor}`);
          return nothing;
        };
        return sessions.use(sandbox, fileDescriptor, close, { closing: true });
      }
      case 'fileLsRequest': {
        const path = resolve(sandbox, request.value.path);
        return files
          .list(path, unending)
          .then((entries) => inline(JSON.stringify({ paths: entries.map(({ name }) => name) })));
      }
      case 'fileMkdirRequest': {
        const { path, makeParents } = request.value;
        return files.makeDirectory(resolve(sandbox, path), makeParents, unending).then(() => nothing);
      }
      case 'fileRmRequest': {
        const { path, recursive } = request.value;
        return files.remove(resolve(sandbox, path), recursive, unending).then(() => nothing);
      }
      case 'fileWatchRequest': {
        const { recursive, timeoutSecs } = request.value;
        const path = resolve(sandbox, request.value.path);
        if (timeoutSecs !== undefined && timeoutSecs > MAX_WATCH_SECONDS) {
          throw invalid(`timeout_secs must be at most ${MAX_WATCH_SECONDS}.`);
        }
        const options = { recursive, timeoutSecs: timeoutSecs === undefined ? null : Number(timeoutSecs) };
        return files.watch(path, options, unending).then((process) => watchAnswer(files, path, process));
      }
      case undefined:
        throw invalid('The request names no file operation.');
      default:
        return request satisfies never;
    }
  }

  /** Relative paths begin at the sandbox's working directory. */
  function resolve(sandbox: Sandbox, path: string): string {
    if (path === '') throw invalid('The path must not be empty.');
    const workdir = () => sandbox.spec.workdir ?? deps.images.get(sandbox.spec.imageId).config.workdir;
    const absolute = path.startsWith('/') ? posix.normalize(path) : posix.resolve(workdir(), path);
    return text(absolute, 'path', MAX_PATH_BYTES);
  }
}

/** One operation on a file takes at most this long. */
const OPERATION_TIMEOUT_MS = 10 * 60_000;
const filesOf = (sandbox: Sandbox) => new SandboxFiles(sandbox, { timeoutMs: OPERATION_TIMEOUT_MS });

/** Operations go on when the client that started them is gone: they have deadlines of their own. */
const unending = new AbortController().signal;

const nothing: Answer = { async *chunks() {} };

const inline = (content: string): Answer => ({
  async *chunks() {
    yield Buffer.from(content);
  },
});

const range = (file: OpenFile, { start, end }: { readonly start: number; readonly end: number }): Answer => ({
  chunks: () => file.content({ start, end }),
});

function toWhence(whence: SeekWhence): Whence {
  switch (whence) {
    case SeekWhence.SEEK_SET:
      return 'start';
    case SeekWhence.SEEK_CUR:
      return 'current';
    case SeekWhence.SEEK_END:
      return 'end';
    default:
      throw invalid(`Unknown whence ${whence}.`);
  }
}
