/** The environment processes of a sandbox start with. */

import type { SandboxId, TaskId } from '../ids.ts';
import type { ImageConfig } from '../images/image.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

type Variables = Readonly<Record<string, string>>;

/** That of all sandboxes of an image. Later ones win: Skerry's defaults, the configured CA variables, the image's ENV. */
export const imageEnvironment = (image: ImageConfig, caEnvironment: Variables): Record<string, string> => ({
  PATH: DEFAULT_PATH,
  ...caEnvironment,
  ...image.env,
});

/** With what is a sandbox's own: its ids, which are what Modal's own sandboxes have, and its secrets, which win. */
export function sandboxEnvironment(parts: {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly image: ImageConfig;
  readonly caEnvironment: Variables;
  readonly secretEnv: Variables;
}): Record<string, string> {
  return {
    ...imageEnvironment(parts.image, parts.caEnvironment),
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
