/** Runs the layer worker: the server's side of `worker.ts`. */
import { fileURLToPath } from 'node:url';
import { SkerryError } from '../../errors/skerry-error.ts';
import { baseEnvironment, run } from '../../platform/command.ts';
import { inOwnMountNamespace } from '../../platform/mounts.ts';
import { fromCompileCache } from '../../platform/node-flags.ts';
import type { WorkerAnswer, WorkerJob } from './edit.ts';

/** One edit may unpack a base image of many gigabytes on a slow disk. */
const EDIT_TIMEOUT_MS = 30 * 60_000;
/** The same module in source and in published form. */
const worker = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
);

/**
 * Makes `<job.workspace>/upper` out of the job's edit.
 * @returns notes for the build log
 * @throws SkerryError `image-build-failed` when the instruction or the image is at fault, `disk-full`, `internal`
 */
export async function editLayer(job: WorkerJob, signal: AbortSignal): Promise<readonly string[]> {
  const { stdout } = await run(inOwnMountNamespace([process.execPath, fromCompileCache, worker]), {
    input: JSON.stringify(job),
    timeoutMs: EDIT_TIMEOUT_MS,
    signal,
    env: baseEnvironment(),
  });
  const answer = JSON.parse(stdout) as WorkerAnswer; // written by our own worker
  if (answer.ok) return answer.notes;
  if (answer.code === 'ENOSPC' || answer.code === 'EDQUOT') {
    throw new SkerryError('disk-full', 'the machine is out of disk space', {
      details: { message: answer.message },
    });
  }
  throw new SkerryError(answer.blame === 'caller' ? 'image-build-failed' : 'internal', answer.message);
}
