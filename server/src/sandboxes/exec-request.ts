/** What the agent is told of an exec. */
import type { StartRequest } from '../agent/messages.ts';
import { GUEST_FS_TOOLS } from '../engines/paths.ts';
import type { ProcessId } from '../ids.ts';
import { processEnvironment } from './process-environment.ts';
import type { ExecSpec } from './spec.ts';
import type { LaunchPlan } from './tenant.ts';

/** What the file helper may read at once, bytes: all of it is output of the sandbox, and would wait for ever beyond its bound. */
const READ_LIMIT_VARIABLE = 'SKERRY_READ_LIMIT';

/**
 * @param ownEnv the variables of the exec's own secrets
 * @param waitedMs how much of its timeout has passed since it was asked for
 * @param maxOutputBytes how much output the sandbox may keep
 */
export function execRequest(
  id: ProcessId,
  spec: ExecSpec,
  plan: LaunchPlan,
  ownEnv: Readonly<Record<string, string>>,
  waitedMs: number,
  maxOutputBytes: number,
): { readonly request: StartRequest; readonly isFileTool: boolean } {
  // What the file API runs is no exec of the user's, and needs no working directory that may have been removed.
  const isFileTool = spec.argv[0] === GUEST_FS_TOOLS;
  const usedMs = waitedMs + (spec.timeoutLeadMs ?? 0);
  const request: StartRequest = {
    id,
    argv: spec.argv,
    env: {
      ...processEnvironment(plan.env, ownEnv, spec.pty !== undefined),
      ...(isFileTool ? { [READ_LIMIT_VARIABLE]: String(maxOutputBytes) } : {}),
    },
    cwd: isFileTool ? '/' : below(plan.workdir, spec.workdir),
    // The sandbox's own is made when it is missing: by its entrypoint, where it has one.
    createCwd: plan.argv.length === 0 && spec.workdir === undefined && !isFileTool,
    user: plan.user,
    timeoutMs: spec.timeoutMs === undefined ? null : Math.max(1, spec.timeoutMs - usedMs),
    stdin: 'pipe',
    stdout: spec.stdout,
    stderr: spec.stderr,
    pty: spec.pty ?? null,
  };
  return { request, isFileTool };
}

/** A process's directory. The kernel resolves it: what `..` means depends on the links on the way. */
function below(directory: string, path: string | undefined): string {
  if (path === undefined) return directory;
  return path.startsWith('/') ? path : `${directory.replace(/\/$/, '')}/${path}`;
}
