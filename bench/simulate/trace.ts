/** When sandboxes are asked for: traces of named distributions, and those of a file. */
import { z } from 'zod';
import { exponential, type Random } from './random.ts';

const arrivalSchema = z.strictObject({
  /** Milliseconds since the begin of the trace. */
  atMs: z.number().min(0),
  /** What it is made of: any name. */
  image: z.string().min(1),
  /** From its first output to its end. */
  livesMs: z.number().min(0),
  /** Whose create it is, for the bound of creates a minute. */
  token: z.string().min(1).default('one'),
});

/** A sandbox that is asked for. */
export type Arrival = Readonly<z.infer<typeof arrivalSchema>>;

export interface TraceWish {
  /** On average, of all but the crowd. */
  readonly perSecond: number;
  /** How long they come, in all but the crowd. */
  readonly seconds: number;
  /** How many come at once in the crowd. */
  readonly crowd: number;
  /** Their mean. */
  readonly livesSeconds: number;
  /** How many different ones are asked for; the second half as often as the first, the third a third as often, and so on. */
  readonly images: number;
}

const SECOND_MS = 1_000;
/** Between two bursts. */
const BURST_EVERY_MS = 60_000;
/** What comes at once does so within this time. */
const AT_ONCE_MS = 1_000;

const distributions = {
  /** Independent of each other, at a rate that stays. */
  steady: (wish: TraceWish, random: Random) =>
    independent(wish.seconds * SECOND_MS, () => wish.perSecond, wish.perSecond, random),
  /** A minute's worth at once, each minute. */
  burst: ({ perSecond, seconds }: TraceWish, random: Random) => {
    const size = Math.round((perSecond * BURST_EVERY_MS) / SECOND_MS);
    const begins = Array.from(
      { length: Math.ceil((seconds * SECOND_MS) / BURST_EVERY_MS) },
      (_, each) => each * BURST_EVERY_MS,
    );
    return begins.flatMap((atMs) => atOnce(size, atMs, random));
  },
  /** As over a day, however long it is: nobody at midnight, twice the mean at noon. */
  day: ({ perSecond, seconds }: TraceWish, random: Random) =>
    independent(
      seconds * SECOND_MS,
      (ms) => perSecond * (1 - Math.cos((2 * Math.PI * ms) / (seconds * SECOND_MS))),
      2 * perSecond,
      random,
    ),
  /** One, and a minute later many. */
  crowd: ({ crowd }: TraceWish, random: Random) => [0, ...atOnce(crowd, BURST_EVERY_MS, random)],
} satisfies Record<string, (wish: TraceWish, random: Random) => number[]>;

export type TraceName = keyof typeof distributions;
// Object.keys is typed string[]; these are the keys by construction.
export const traceNames = Object.keys(distributions) as TraceName[];
export const isTraceName = (text: string): text is TraceName => text in distributions;

/** The arrivals of a named distribution, in order. */
export function traceOf(name: TraceName, wish: TraceWish, random: Random): Arrival[] {
  const times = distributions[name](wish, random).sort((one, other) => one - other);
  const image = imagesOf(wish.images);
  return times.map((atMs) => ({
    ...{ atMs: Math.round(atMs), image: image(random()), token: 'one' },
    livesMs: Math.round(exponential(random, wish.livesSeconds * SECOND_MS)),
  }));
}

/** One JSON object a line, in any order; empty lines are none. @throws Error which names the line that is wrong, and what is */
export function readTrace(text: string): Arrival[] {
  const arrivals = text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    const parsed = z.string().transform(json).pipe(arrivalSchema).safeParse(line);
    if (parsed.success) return [parsed.data];
    throw new Error(`Line ${index + 1} is no arrival: ${z.prettifyError(parsed.error)}`);
  });
  return arrivals.sort((one, other) => one.atMs - other.atMs);
}

/** What `readTrace` reads. */
export const writeTrace = (arrivals: readonly Arrival[]): string =>
  arrivals.map((arrival) => `${JSON.stringify(arrival)}\n`).join('');

function json(text: string, context: z.RefinementCtx): unknown {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'it is not JSON' });
    return z.NEVER;
  }
}

/** A Poisson process whose rate changes, by thinning one with the highest rate. */
function independent(
  forMs: number,
  perSecondAt: (ms: number) => number,
  most: number,
  random: Random,
): number[] {
  const times: number[] = [];
  for (
    let ms = exponential(random, SECOND_MS / most);
    ms < forMs;
    ms += exponential(random, SECOND_MS / most)
  )
    if (random() * most < perSecondAt(ms)) times.push(ms);
  return times;
}

const atOnce = (count: number, fromMs: number, random: Random): number[] =>
  Array.from({ length: count }, () => fromMs + random() * AT_ONCE_MS);

/** Which of them chance names, by Zipf's law. */
function imagesOf(count: number): (chance: number) => string {
  const weights = Array.from({ length: count }, (_, each) => 1 / (each + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return (chance) => {
    let image = 0;
    for (let left = chance * total; image < count - 1; image++) {
      left -= weights[image] ?? 0;
      if (left < 0) break;
    }
    return `image-${image + 1}`;
  };
}
