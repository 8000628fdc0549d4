/**
 * A sandbox's life as a pure function: what is, and what happened, give what is now and what has to be done. It knows no clock, no store and no engine;
 * `life-keeper.ts` writes down what it says, `tenancy.ts` does it.
 *
 * ```
 * created -> starting -> running -> stopping -> ended
 *    ^          |        |     ^        ^
 *    '----------'        v     |        |
 *         |           suspended --------'
 *         an earlier server's start that was not finished begins anew
 * ```
 */
import type { InstanceId } from '../ids.ts';
import type { Sleep } from './sleep.ts';
import type { SandboxResult, SandboxState } from './state.ts';

/**
 * What a server does on the machine for a sandbox, one thing at a time; `unknown` until it has looked for what an earlier server left. While one of
 * them is under way the instance cannot be taken away: its end is awaited first.
 */
export type Activity = 'launching' | 'rejoining' | 'discarding' | 'leaving' | 'waking';

interface Times {
  readonly startedAtMs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly readyAtMs: number | undefined;
}

/** What it runs in, from the moment that is known; another start of it has another. */
interface Placed {
  readonly instance: InstanceId | undefined;
  /** Of its last sleep, from then on: its files go on from there. */
  readonly slept?: Sleep | undefined;
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
  readonly contact: 'made' | 'rejoining' | 'unknown' | 'suspending';
  /** Whether somebody needs it who came while it was being suspended. */
  readonly wanted?: boolean;
}

/** It is on the disk alone, or in an instance that it does not go on in. */
export interface Suspended extends Times, Placed {
  readonly state: 'suspended';
  readonly startedAtMs: number;
  readonly deadlineMs: number;
  readonly slept: Sleep;
  readonly activity: Activity | 'none' | 'unknown';
  /** Whether somebody needs it. */
  readonly wanted: boolean;
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

export type Life = Created | Starting | Running | Suspended | Stopping | Ended;

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
  /** Nobody needs it for now. */
  | { readonly kind: 'suspend' }
  /** Everything in its instance stands still for good, and all of it is kept. */
  | { readonly kind: 'slept'; readonly slept: Sleep }
  /** It is to go on from there, and not where it is. */
  | { readonly kind: 'rolled-back'; readonly slept: Sleep }
  /** Nothing of the instance is left that it was in. */
  | { readonly kind: 'left' }
  /** Somebody needs it to run. */
  | { readonly kind: 'needed' }
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
  /** Keeps it on the disk: `slept` or `failed`. */
  | 'suspend'
  /** Goes on as before, since it could not be suspended. */
  | 'stay'
  /** Takes away the instance of one that is kept: `left`. */
  | 'leave'
  /** Has it sleep on, as an earlier server left it. */
  | 'doze'
  /** Makes an instance of what is kept: `up` or `failed`. */
  | 'wake'
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
    case 'suspended':
      return suspended(life, event);
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

/** Whether it is suspended, and nobody needs it: what it ran in is gone, or about to go. */
export const isAsleep = (life: Life): boolean =>
  life.state === 'suspended' && !life.wanted && life.activity !== 'leaving' && life.activity !== 'waking';

/** What it runs in, if there is anything. */
export const instanceOf = (life: Life): InstanceId | undefined =>
  'instance' in life ? life.instance : undefined;

/** What is kept of its last sleep. */
export const sleptOf = (life: Life): Sleep | undefined => ('slept' in life ? life.slept : undefined);

/** What the store keeps of a life. */
export interface StoredLife extends Times, Placed {
  readonly slept: Sleep | undefined;
  readonly state: SandboxState;
  readonly result: SandboxResult | undefined;
  readonly endedAtMs: number | undefined;
}

export function toStored(life: Life): StoredLife {
  const times = 'startedAtMs' in life ? life : noTimes;
  return {
    state: life.state,
    instance: instanceOf(life),
    slept: sleptOf(life),
    result: resultOf(life),
    startedAtMs: times.startedAtMs,
    deadlineMs: times.deadlineMs,
    readyAtMs: times.readyAtMs,
    endedAtMs: life.state === 'ended' ? life.endedAtMs : undefined,
  };
}

/** As the next server finds it: of what was under way it knows nothing. */
export function fromStored(row: StoredLife): Life {
  const { startedAtMs, deadlineMs, readyAtMs, result = TERMINATED, instance, slept } = row;
  const times = { startedAtMs, deadlineMs, readyAtMs };
  // Written together with the state.
  const ran = { ...times, startedAtMs: startedAtMs ?? 0, deadlineMs: deadlineMs ?? 0 };
  switch (row.state) {
    case 'created':
      return { state: 'created' };
    case 'starting':
      return { state: 'starting', activity: 'unknown', instance };
    case 'running':
      return { ...ran, ...placed(row), state: 'running', contact: 'unknown' };
    case 'suspended':
      if (!slept) throw new Error('a suspended sandbox has nothing to wake from');
      return {
        ...ran,
        instance,
        slept,
        state: 'suspended',
        activity: 'unknown',
        wanted: slept.isRollback === true,
      };
    case 'stopping':
      return { ...times, ...placed(row), state: 'stopping', result, awaits: 'unknown' };
    case 'ended':
      return { ...times, state: 'ended', result, endedAtMs: row.endedAtMs ?? 0 };
    default:
      return row.state satisfies never;
  }
}

const placed = ({ instance, slept }: Placed): Placed => ({ instance, ...(slept && { slept }) });

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
      if (life.contact === 'suspending') return { life: awake(life), effects: ['stay'] };
      if (life.contact !== 'rejoining') break;
      return stop(life, { kind: 'crashed', message: event.message }, 'removal');
    case 'suspend':
      if (life.contact !== 'made') break;
      return { life: { ...life, contact: 'suspending' }, effects: ['suspend'] };
    case 'slept':
      if (life.contact !== 'suspending') break;
      return leave(life, event.slept, life.wanted === true);
    case 'rolled-back':
      if (life.contact !== 'made') break;
      return leave(life, event.slept, true);
    case 'needed':
      if (life.contact !== 'suspending' || life.wanted) break;
      return { life: { ...life, wanted: true }, effects: [] };
    case 'ready':
      if (life.readyAtMs !== undefined) break;
      return { life: { ...life, readyAtMs: event.atMs }, effects: [] };
    case 'end': {
      const isUnderWay = life.contact === 'rejoining' || life.contact === 'suspending';
      return stop(life, event.result, isUnderWay ? 'activity' : 'removal');
    }
  }
  return { life, effects: [] };
}

/** It goes on from what is kept, and not where it is. */
function leave(life: Running, slept: Sleep, wanted: boolean): Step {
  const { startedAtMs, deadlineMs, readyAtMs } = life;
  const times = { startedAtMs, deadlineMs, readyAtMs };
  return {
    life: { ...times, slept, wanted, instance: undefined, state: 'suspended', activity: 'leaving' },
    effects: ['leave'],
  };
}

/** It runs as before it was being suspended. */
function awake({ wanted: _, ...life }: Running): Running {
  return { ...life, contact: 'made' };
}

function suspended(life: Suspended, event: LifeEvent): Step {
  const { activity } = life;
  switch (event.kind) {
    case 'found':
      if (activity !== 'unknown') break;
      // One that a killed server had begun to wake is what it was before: what it did since was told to nobody.
      if (event.instance) return { life: { ...life, activity: 'discarding' }, effects: ['doze', 'discard'] };
      return rest(life, ['doze']);
    case 'left':
      if (activity === 'leaving') return rest(life, []);
      break;
    case 'discarded':
      if (activity === 'discarding') return rest(life, []);
      break;
    case 'needed':
      if (activity === 'none') return rest({ ...life, wanted: true }, []);
      if (life.wanted) break;
      return { life: { ...life, wanted: true }, effects: [] };
    case 'placed':
      if (activity !== 'waking') break;
      return { life: { ...life, instance: event.instance }, effects: [] };
    case 'up': {
      if (activity !== 'waking') break;
      const { startedAtMs, deadlineMs, readyAtMs, instance, slept } = life;
      const times = { startedAtMs, deadlineMs, readyAtMs };
      return {
        life: { ...times, instance, slept, state: 'running', contact: 'made' },
        effects: ['open'],
      };
    }
    case 'failed':
      if (activity !== 'waking' && activity !== 'discarding') break;
      return stop(life, { kind: 'crashed', message: `It could not be woken: ${event.message}` }, 'removal');
    case 'end': {
      const isUnderWay = activity !== 'none' && activity !== 'unknown';
      return stop(life, event.result, isUnderWay ? 'activity' : 'removal');
    }
  }
  return { life, effects: [] };
}

/** Nothing of it is on the machine; if somebody needs it, it wakes. */
const rest = (life: Suspended, effects: readonly Effect[]): Step =>
  life.wanted
    ? {
        life: { ...life, instance: undefined, activity: 'waking', wanted: false },
        effects: [...effects, 'wake'],
      }
    : { life: { ...life, instance: undefined, activity: 'none' }, effects };

function stopping(life: Stopping, event: LifeEvent): Step {
  switch (event.kind) {
    case 'found':
      return life.awaits === 'unknown' ? remove(life) : { life, effects: [] };
    case 'up':
    case 'incomplete':
    case 'discarded':
    case 'left':
    case 'slept':
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
  const { startedAtMs, deadlineMs, readyAtMs } = from;
  return {
    life: { state: 'stopping', startedAtMs, deadlineMs, readyAtMs, ...placed(from), result, awaits },
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
