/** Which sandboxes may be given an instance that waited for somebody (`instances/warm-pool.ts`), and what such a one is made for. */
import type { Expected, NetworkPolicy } from '../engines/engine.ts';
import type { Warmth } from '../instances/instance-service.ts';
import type { SandboxSpec } from './spec.ts';
import type { LaunchPlan } from './tenant.ts';

/** What all sandboxes are called. */
export const HOSTNAME = 'modal';

/** Undefined for one that has what no running instance can be given any more, or that goes on where another was. */
export function warmthOf(
  spec: Pick<SandboxSpec, 'imageId' | 'network' | 'volumes'>,
  plan: Pick<LaunchPlan, 'limits' | 'joins' | 'gpus' | 'from' | 'buckets'>,
): Warmth | undefined {
  const { joins, gpus, from, buckets, limits } = plan;
  if (joins || gpus || from || buckets.length > 0 || spec.volumes.length > 0) return undefined;
  if (spec.network.headers !== undefined) return undefined; // its programs trust another authority
  return { label: spec.imageId, expects: expectationOf(spec.network, limits) };
}

/** What one waits for that is to be given this. A list of what may be reached is set when it is somebody's; until then nothing is open to it. */
export function expectationOf({ kind }: NetworkPolicy, limits: LaunchPlan['limits']): Expected {
  return { hostname: HOSTNAME, limits, network: { kind: kind === 'open' ? 'open' : 'blocked' } };
}
