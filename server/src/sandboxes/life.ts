/**
 * A sandbox's life as a pure function: what is, and what happened, give what is now and what has to be done. It knows no clock, no store and no engine;
 * `life-keeper.ts` writes down what it says, `tenancy.ts` does it.
 *
 * ```
 * created -> starting -> running -> stopping -> ended
 *    ^          |
 *    '----------'  an earlier server's start that was not finished begins anew
 * ```
 */
import type { InstanceId } from '../ids.ts';
import type { SandboxResult, SandboxState } from './state.ts';

/**
 * What a server does on the machine for a sandbox, one thing at a time; `unknown` until it has looked for what an earlier server left. While one of
 * them is under way the instance cannot be taken away: its end is awaited first.
 */
export type Activity = 'launching' | 'rejoining' | 'discarding';

interface Times {
  readonly startedAtMs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly readyAtMs: number | undefined;
}

/** What it runs in, from the moment that is known; another start of it has another. */
interface Placed {
  readonly instance: InstanceId | undefined;
}

export interface Created {
  readonly state: 'created';
}

export interface Starting extends Placed {
  readonly state: 'starting';
  readonly activity: Activity | 'unknown';
}

export interface Running extends Times, Placed {
  readonly state: 'running';
  readonly startedAtMs: number;
  readonly deadlineMs: number;
  /** Whether this server has its agent: it has when it started it, and after a restart once the agent answered. */
  readonly contact: 'made' | 'rejoining' | 'unknown';
}

/** Its end is sure, whatever happens; it holds its name until everything is gone. */
export interface Stopping extends Times, Placed {
  readonly state: 'stopping';
  readonly result: SandboxResult;
  /** What has to come to its end next: what was under way, or the removal. */
  readonly awaits: 'activity' | 'removal' | 'unknown';
}

export interface Ended extends Times {
  readonly state: 'ended';
  readonly result: SandboxResult;
  readonly endedAtMs: number;
}

export type Life = Created | Starting | Running | Stopping | Ended;

export type LifeEvent =
  /** It was written to the store. */
  | { readonly kind: 'admitted' }
  /** A server that came back has looked for what an earlier one left of it; `fate` says what became of an instance that ran and is gone. */
  | {
      readonly kind: 'found';
      readonly instance: boolean;
      readonly fate: string;
      readonly atMs: number;
    }
  /** Its turn to start has come. */
  | { readonly kind: 'turn' }
  /** There is an instance for it, which is not yet its own: from now on a server that comes back knows whose it is. */
  | { readonly kind: 'placed'; readonly instance: InstanceId }
  /** Launched, or rejoined: its entrypoint runs, where it has one. */
  | { readonly kind: 'up'; readonly atMs: number; readonly timeoutMs: number }
  /** What an earlier server left never came to run its entrypoint. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'discarded' }
  /** What was under way failed, or was called off. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'ready'; readonly atMs: number }
  /** It must end: asked for, or by a clock, its entrypoint, its instance. */
  | { readonly kind: 'end'; readonly result: SandboxResult }
  /** Nothing of it is left that this server can remove. */
  | { readonly kind: 'removed'; readonly atMs: number };

export type Effect =
  /** Waits for its turn to start, which is told as `turn`. */
  | 'queue'
  /** Forgets what an interrupted start left behind. */
  | 'forget'
  /** Makes an instance and starts the entrypoint in it: `up` or `failed`. */
  | 'launch'
  /** Reaches the agent of an instance that an earlier server left: `up`, `incomplete` or `failed`. */
  | 'rejoin'
  /** Takes away an instance that cannot be gone on with: `discarded` or `failed`. */
  | 'discard'
  /** Breaks off what is under way, which is told as before. */
  | 'call-off'
  /** Starts its clocks and watches. */
  | 'open'
  /** Stops them. */
  | 'close'
  /** Takes away everything of it, first what depends on it: `removed`. */
  | 'remove'
  /** Ends its processes and streams. */
  | 'settle';

export interface Step {
  readonly life: Life;
  readonly effects: readonly Effect[];
}

/** What cannot follow changes nothing: events come from clocks, agents and callers, which know nothing of each other. */
export function step(life: Life, event: LifeEvent): Step {
  switch (life.state) {
    case 'created':
      return created(life, event);
    case 'starting':
      return starting(life, event);
    case 'running':
      return running(life, event);
    case 'stopping':
      return stopping(life, event);
    case 'ended':
      return { life, effects: [] };
    default:
      return life satisfies never;
  }
}

/** Whether it has not ended: until then nobody else may have its name, its key, or its place among those that run, whatever the store still says. */
export const holdsName = ({ state }: { readonly state: SandboxState }): boolean => state !== 'ended';

/** The result, from the first moment its end is sure. */
export const resultOf = (life: Life): SandboxResult | undefined =>
  life.state === 'stopping' || life.state === 'ended' ? life.result : undefined;

/** What it runs in, if there is anything. */
export const instanceOf = (life: Life): InstanceId | undefined =>
  'instance' in life ? life.instance : undefined;

/** What the store keeps of a life. */
export interface StoredLife extends Times, Placed {
  readonly state: SandboxState;
  readonly result: SandboxResult | undefined;
  readonly endedAtMs: number | undefined;
}

export function toStored(life: Life): StoredLife {
  const times = 'startedAtMs' in life ? life : noTimes;
  return {
    state: life.state,
    instance: instanceOf(life),
    result: resultOf(life),
    startedAtMs: times.startedAtMs,
    deadlineMs: times.deadlineMs,
    readyAtMs: times.readyAtMs,
    endedAtMs: life.state === 'ended' ? life.endedAtMs : undefined,
  };
}

/** As the next server finds it: of what was under way it knows nothing. */
export function fromStored(row: StoredLife): Life {
  const { startedAtMs, deadlineMs, readyAtMs, result = TERMINATED, instance } = row;
  const times = { startedAtMs, deadlineMs, readyAtMs };
  switch (row.state) {
    case 'created':
      return { state: 'created' };
    case 'starting':
      return { state: 'starting', activity: 'unknown', instance };
    case 'running':
      // Written together with the state.
      return {
        ...{ ...times, instance },
        state: 'running',
        startedAtMs: startedAtMs ?? 0,
        deadlineMs: deadlineMs ?? 0,
        contact: 'unknown',
      };
    case 'stopping':
      return { ...times, instance, state: 'stopping', result, awaits: 'unknown' };
    case 'ended':
      return { ...times, state: 'ended', result, endedAtMs: row.endedAtMs ?? 0 };
    default:
      return row.state satisfies never;
  }
}

const TERMINATED: SandboxResult = { kind: 'terminated' };
const noTimes: Times = { startedAtMs: undefined, deadlineMs: undefined, readyAtMs: undefined };

function created(life: Created, event: LifeEvent): Step {
  switch (event.kind) {
    case 'admitted':
      return { life, effects: ['queue'] };
    case 'turn':
      return {
        life: { state: 'starting', activity: 'launching', instance: undefined },
        effects: ['launch'],
      };
    case 'found':
      return beginAnew;
    case 'end':
      return stop({ ...noTimes, instance: undefined }, event.result, 'removal');
    default:
      return { life, effects: [] };
  }
}

function starting(life: Starting, event: LifeEvent): Step {
  switch (event.kind) {
    case 'found':
      if (life.activity !== 'unknown') break;
      return event.instance ? rejoin(life) : beginAnew;
    case 'placed':
      if (life.activity !== 'launching') break;
      return { life: { ...life, instance: event.instance }, effects: [] };
    case 'up':
      if (life.activity !== 'launching' && life.activity !== 'rejoining') break;
      return {
        life: {
          state: 'running',
          startedAtMs: event.atMs,
          deadlineMs: event.atMs + event.timeoutMs,
          readyAtMs: undefined,
          contact: 'made',
          instance: life.instance,
        },
        effects: ['open'],
      };
    case 'incomplete':
      return life.activity === 'rejoining' ? discard(life) : { life, effects: [] };
    case 'discarded':
      return life.activity === 'discarding' ? beginAnew : { life, effects: [] };
    case 'failed':
      if (life.activity === 'unknown') break;
      if (life.activity === 'rejoining') return discard(life);
      return stop({ ...life, ...noTimes }, { kind: 'start-failed', message: event.message }, 'removal');
    case 'end':
      return stop(
        { ...life, ...noTimes },
        event.result,
        life.activity === 'unknown' ? 'removal' : 'activity',
      );
  }
  return { life, effects: [] };
}

function running(life: Running, event: LifeEvent): Step {
  switch (event.kind) {
    case 'found':
      if (life.contact !== 'unknown') break;
      if (event.instance) return { life: { ...life, contact: 'rejoining' }, effects: ['rejoin'] };
      return settle(life, { kind: 'crashed', message: event.fate }, event.atMs);
    case 'up':
      if (life.contact !== 'rejoining') break;
      return { life: { ...life, contact: 'made' }, effects: ['open'] };
    case 'failed':
      if (life.contact !== 'rejoining') break;
      return stop(life, { kind: 'crashed', message: event.message }, 'removal');
    case 'ready':
      if (life.readyAtMs !== undefined) break;
      return { life: { ...life, readyAtMs: event.atMs }, effects: [] };
    case 'end':
      return stop(life, event.result, life.contact === 'rejoining' ? 'activity' : 'removal');
  }
  return { life, effects: [] };
}

function stopping(life: Stopping, event: LifeEvent): Step {
  switch (event.kind) {
    case 'found':
      return life.awaits === 'unknown' ? remove(life) : { life, effects: [] };
    case 'up':
    case 'incomplete':
    case 'discarded':
    case 'failed':
      return life.awaits === 'activity' ? remove(life) : { life, effects: [] };
    case 'removed':
      if (life.awaits !== 'removal') break;
      return settle(life, life.result, event.atMs);
  }
  return { life, effects: [] };
}

const rejoin = (life: Starting): Step => ({
  life: { ...life, activity: 'rejoining' },
  effects: ['rejoin'],
});
const discard = (life: Starting): Step => ({
  life: { ...life, activity: 'discarding' },
  effects: ['discard'],
});
const beginAnew: Step = { life: { state: 'created' }, effects: ['forget', 'queue'] };

function stop(from: Times & Placed, result: SandboxResult, awaits: 'activity' | 'removal'): Step {
  const { startedAtMs, deadlineMs, readyAtMs, instance } = from;
  return {
    life: { state: 'stopping', startedAtMs, deadlineMs, readyAtMs, instance, result, awaits },
    effects: awaits === 'activity' ? ['close', 'call-off'] : ['close', 'remove'],
  };
}

const remove = (life: Stopping): Step => ({ life: { ...life, awaits: 'removal' }, effects: ['remove'] });

function settle(times: Times, result: SandboxResult, endedAtMs: number): Step {
  const { startedAtMs, deadlineMs, readyAtMs } = times;
  return {
    life: { state: 'ended', startedAtMs, deadlineMs, readyAtMs, result, endedAtMs },
    effects: ['settle'],
  };
}
