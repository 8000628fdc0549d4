/** The agent of a Pod as the engine of a cluster asks it. */

import type { InstanceStats } from '../engines/engine.ts';
import type { Dial, MirroredTree, PodAgent, TakeFiles } from '../engines/kubernetes/pod-agent.ts';
import { GUEST_AGENT } from '../engines/paths.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { newProcessId } from '../ids.ts';
import type { Logger } from '../telemetry/logger.ts';
import { AgentClient } from './agent-client.ts';
import { mirrorFiles } from './mirror-files.ts';
import { runToExit } from './run-to-exit.ts';
import { takeFiles } from './take-files.ts';

const SIGKILL = 9;
/** A file is written. */
const NAMESERVER_MS = 10_000;

export class PodAgentClient implements PodAgent {
  readonly #treesBinaryPath: string;
  readonly #logger: Logger;

  constructor(treesBinaryPath: string, logger: Logger) {
    this.#treesBinaryPath = treesBinaryPath;
    this.#logger = logger;
  }

  /** @throws SkerryError `unimplemented` where it sees no control group */
  async stats(dial: Dial, signal: AbortSignal): Promise<InstanceStats> {
    const { usage } = await this.#client(dial).stats(signal);
    if (usage) return usage;
    throw new SkerryError('unimplemented', 'The sandbox does not show its agent what it uses.');
  }

  environment(dial: Dial, signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    return this.#client(dial).environment(signal);
  }

  async setNameserver(dial: Dial, address: string, signal: AbortSignal): Promise<void> {
    const client = this.#client(dial);
    await client.require('nameserver', signal);
    let words = '';
    const exit = await runToExit(
      client,
      {
        ...{ id: newProcessId(), argv: [GUEST_AGENT, 'nameserver', address], env: {}, cwd: '/' },
        ...{ stdout: 'null', stderr: 'pipe', timeoutMs: NAMESERVER_MS },
      },
      (_, chunk) => {
        words += chunk.toString();
      },
      signal,
    );
    if (exit.kind === 'code' && exit.value === 0) return;
    throw new SkerryError(
      'unavailable',
      `The sandbox cannot be told whom to ask for names: ${words.trim().slice(0, 200)}`,
    );
  }

  killAll(dial: Dial, signal: AbortSignal): Promise<void> {
    return this.#client(dial).killAll(SIGKILL, signal);
  }

  takeFiles(dial: Dial, files: TakeFiles, signal: AbortSignal): Promise<void> {
    return takeFiles(this.#client(dial), files, this.#treesBinaryPath, signal);
  }

  collect(dial: Dial, tree: MirroredTree, signal: AbortSignal): Promise<void> {
    return mirrorFiles(this.#client(dial), 'collect', tree, this.#treesBinaryPath, signal);
  }

  deliver(dial: Dial, tree: MirroredTree, signal: AbortSignal): Promise<void> {
    return mirrorFiles(this.#client(dial), 'deliver', tree, this.#treesBinaryPath, signal);
  }

  #client(dial: Dial): AgentClient {
    return new AgentClient(dial, this.#logger);
  }
}
