import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { parseCount } from '../option-values.ts';
import { addConnectionOptions, connectionOf, told } from '../sandboxes/connection.ts';
import { seconds } from '../sandboxes/create-options.ts';
import { formatTaken, NOTHING_RUNS, type Taken, UsageMeter } from '../sandboxes/usage.ts';

const DEFAULT_INTERVAL_SECONDS = 2;
/** The screen beside the one that is scrolled, without a cursor; and back. */
const [SCREEN_ON, SCREEN_OFF] = ['\x1b[?1049h\x1b[?25l', '\x1b[?25h\x1b[?1049l'];
const [TO_THE_TOP, REST_OF_LINE, REST_OF_SCREEN] = ['\x1b[H', '\x1b[K', '\x1b[J'];
/** q, and Ctrl-C and Ctrl-D, which come as keys here. */
const ENDING_KEYS = ['q', 'Q', '\x03', '\x04'];

interface TopFlags {
  readonly interval: number;
  readonly count?: number;
  readonly json?: boolean;
}

/** `skerry top`: what running sandboxes take of the machine, again and again. */
export function topCommand(): Command {
  const command = new Command('top')
    .description(
      'show again and again what running sandboxes take of processor, memory and network; q ends it',
    )
    .option('--interval <time>', 'how often: 2, 10s, 1m', seconds, DEFAULT_INTERVAL_SECONDS)
    .option('--count <number>', 'end after so many', parseCount)
    .option('--json', 'print one JSON object a line for each look: time, sandboxes');
  return addConnectionOptions(command).action(({ interval, count = Infinity, json }: TopFlags) =>
    told(async () => {
      const meter = new UsageMeter(connectionOf(command));
      await using show = json ? lines() : process.stdout.isTTY ? screen() : tables();
      for (let looks = 1; ; looks++) {
        show.show(await meter.look());
        if (looks >= count || show.signal.aborted || process.stdout.destroyed) return;
        await delay(interval * 1000, undefined, { signal: show.signal }).catch(() => {}); // looked at above
        if (show.signal.aborted) return;
      }
    }),
  );
}

interface Show extends AsyncDisposable {
  show(taken: readonly Taken[]): void;
  /** Ends when somebody has seen enough. */
  readonly signal: AbortSignal;
}

const plain = (show: Show['show']): Show => ({
  show,
  signal: new AbortController().signal,
  async [Symbol.asyncDispose]() {},
});

const lines = (): Show =>
  plain((sandboxes) => {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), sandboxes })}\n`);
  });

const tables = (): Show => plain((taken) => void process.stdout.write(`${formatTaken(taken)}\n`));

function screen(): Show {
  const { stdin, stdout } = process;
  const enough = new AbortController();
  const end = () => enough.abort();
  const onKeys = (keys: Buffer) => {
    if (ENDING_KEYS.some((key) => keys.includes(key))) end();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, end);
  stdin.setRawMode?.(true);
  stdin.on('data', onKeys).resume();
  stdout.write(SCREEN_ON);
  return {
    signal: enough.signal,
    show(taken) {
      const text = taken.length === 0 ? NOTHING_RUNS : formatTaken(taken);
      const shown = text
        .split('\n')
        .slice(0, stdout.rows - 1)
        .map((line) => `${line.slice(0, stdout.columns)}${REST_OF_LINE}`);
      stdout.write(`${TO_THE_TOP}${shown.join('\r\n')}${REST_OF_SCREEN}`);
    },
    async [Symbol.asyncDispose]() {
      stdout.write(SCREEN_OFF);
      stdin.off('data', onKeys).pause();
      stdin.setRawMode?.(false);
      for (const signal of signals) process.off(signal, end);
    },
  };
}
