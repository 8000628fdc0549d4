/** What a sandbox takes of its machine, as its agent sees it: for engines whose machines are others'. */
import type { Duplex } from 'node:stream';
import type { InstanceStats } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import { AgentClient } from './agent-client.ts';

/** @returns what asks the agent that `dial` leads to. It throws SkerryError `unimplemented` where that sees no control group */
export const usageReader =
  (logger: Logger) =>
  async (dial: (signal: AbortSignal) => Promise<Duplex>, signal: AbortSignal): Promise<InstanceStats> => {
    const { usage } = await new AgentClient(dial, logger).stats(signal);
    if (usage) return usage;
    throw new SkerryError('unimplemented', 'The sandbox does not show its agent what it uses.');
  };
