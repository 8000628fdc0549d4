/** The environment processes of a sandbox start with. */

import type { SandboxId, TaskId } from '../ids.ts';
import type { ImageConfig } from '../images/image.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Later ones win: Skerry's defaults, the image's ENV, the configured CA variables where the image sets none, the secrets of the sandbox. The ids
 * are what Modal's own sandboxes have.
 */
export function sandboxEnvironment(parts: {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly image: ImageConfig;
  readonly caEnvironment: Readonly<Record<string, string>>;
  readonly secretEnv: Readonly<Record<string, string>>;
}): Record<string, string> {
  return {
    PATH: DEFAULT_PATH,
    ...parts.caEnvironment,
    ...parts.image.env,
    MODAL_SANDBOX_ID: parts.id,
    MODAL_TASK_ID: parts.taskId,
    ...parts.secretEnv,
  };
}

/** What a process adds: its own variables, and a terminal type when it has a terminal. */
export function processEnvironment(
  base: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
  hasPty: boolean,
): Record<string, string> {
  return { ...(hasPty ? { TERM: 'xterm-256color' } : {}), ...base, ...own };
}
