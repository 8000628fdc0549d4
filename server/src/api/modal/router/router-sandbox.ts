/** Which sandbox, container and process a call on the command router is for. */
import type { HandlerContext } from '@connectrpc/connect';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { ProcessId, TaskId } from '../../../ids.ts';
import type { Container, Process, Sandbox, Sandboxes, Sidecars } from '../../../sandboxes/sandboxes.ts';
import { callOf } from '../rpc/call.ts';

export interface RouterDeps {
  readonly sandboxes: Pick<Sandboxes, 'getByTask'>;
  readonly sidecars: Sidecars;
}

/** How the clients name the main container where they name it. */
export const MAIN_CONTAINER = 'main';

export interface RouterTargets {
  /** @throws SkerryError `permission-denied` when the call's token opens another sandbox */
  sandbox(taskId: string, context: HandlerContext): Sandbox;
  /** The main container, or the sidecar of that id. @throws SkerryError `not-found` */
  container(sandbox: Sandbox, containerId: string): Container;
  /** A process of any container: the clients choose ids that are unique in the sandbox. @throws SkerryError `not-found` */
  process(sandbox: Sandbox, execId: string): Process;
}

export function routerTargets({ sandboxes, sidecars }: RouterDeps): RouterTargets {
  return {
    sandbox(taskId, context) {
      const { grant } = callOf(context);
      if (!grant || grant.taskId !== taskId) {
        throw new SkerryError('permission-denied', 'This access token belongs to another sandbox.');
      }
      return sandboxes.getByTask(grant.taskId);
    },
    container: (sandbox, containerId) =>
      containerId === '' || containerId === MAIN_CONTAINER
        ? sandbox
        : sidecars.get(sandbox, containerId as TaskId), // any string may be looked up
    process(sandbox, execId) {
      const id = execId as ProcessId; // likewise
      try {
        return sandbox.process(id);
      } catch (error) {
        const process = sidecars.process(sandbox, id);
        if (process) return process;
        throw error;
      }
    },
  };
}
