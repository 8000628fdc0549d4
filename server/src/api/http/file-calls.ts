/** Calls of a request to the files of its sandbox, and what goes wrong with them in the interface's words. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { SkerryError } from '../../errors/skerry-error.ts';
import { FileError } from '../../sandboxes/file-error.ts';
import { SandboxFiles } from '../../sandboxes/files.ts';
import { whileRunning } from './commands.ts';
import { openSandbox, type RouteParts } from './routes.ts';

type FileCall<T> = (files: SandboxFiles, signal: AbortSignal) => Promise<T>;

/** Calls the files of the sandbox that a request is about, once it runs. */
export const fileCalls =
  (parts: RouteParts) =>
  async <T>(
    request: FastifyRequest<{ Params: { sandboxId: string } }>,
    reply: FastifyReply,
    call: FileCall<T>,
  ): Promise<T> => {
    const { sandbox, signal } = openSandbox(parts, request, reply);
    return whileRunning(sandbox, signal, () => call(new SandboxFiles(sandbox), signal).catch(inOurWords));
  };

function inOurWords(error: unknown): never {
  if (!(error instanceof FileError)) throw error;
  throw new SkerryError(error.code, error.message, { cause: error, details: { path: 'path' } });
}
