/** From the start of an instance's first process to the agent's first call. */
import { readFile } from 'node:fs/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import { delay } from '../../platform/wait.ts';
import type { RuntimeName } from '../engine.ts';
import type { AgentListener } from './agent-listener.ts';
import type { Cgroups } from './cgroups.ts';
import type { InstanceLayout } from './layout.ts';
import { identify, isAlive, type ProcessIdentity } from './process-identity.ts';

/** How long a started sandbox's agent may take to dial; under gVisor on a busy machine it takes seconds. */
const AGENT_TIMEOUT_MS = 30_000;
/** How often the start looks whether the sandbox still lives while it waits for the agent. */
const START_POLL_MS = 100;

export interface Started {
  readonly places: InstanceLayout;
  readonly runtime: RuntimeName;
  readonly listener: AgentListener;
  readonly cgroups: Cgroups;
}

/** The first process of a container that the runtime has started, once its agent has called. @throws SkerryError saying why it does not */
export async function awaitAgent(started: Started, signal: AbortSignal): Promise<ProcessIdentity> {
  const init = await readInit(started.places);
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  try {
    await Promise.race([started.listener.connection, watch(started, init, either)]);
    return init;
  } finally {
    done.abort();
  }
}

/** The runtime wrote the number of the container's first process; it must be alive to be told from a later one with the same number. */
async function readInit(places: InstanceLayout): Promise<ProcessIdentity> {
  const init = await identify(Number(await readFile(places.pidFile, 'utf8')));
  if (init) return init;
  throw new SkerryError('internal', 'The sandbox died as soon as it was started.');
}

async function watch(
  { places, runtime, cgroups }: Started,
  init: ProcessIdentity,
  signal: AbortSignal,
): Promise<never> {
  const deadline = Date.now() + AGENT_TIMEOUT_MS;
  while (Date.now() < deadline) {
    await delay(START_POLL_MS, signal);
    if (await isAlive(init)) continue;
    if ((await cgroups.oomKills(places.cgroup)) > 0) {
      throw new SkerryError('resource-exhausted', 'The sandbox ran out of memory while it started.');
    }
    throw new SkerryError('internal', `The sandbox died while it started under ${runtime}.`);
  }
  throw new SkerryError('internal', `The agent did not connect within ${AGENT_TIMEOUT_MS / 1000} s.`);
}
