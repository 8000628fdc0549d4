/**
 * Steps of a script: each says what it does, shows that it is alive when it takes longer than two seconds, and how long it took.
 * What `npm run setup` starts with runs on Node 18 (Debian 12's own) without any dependency, since it is what installs them.
 */
import { stripVTControlCharacters } from 'node:util';

const QUIET_MS = 2_000;
const PLAIN_INTERVAL_MS = 10_000;
const REDRAW_MS = 200;

const seconds = (ms) => (ms < 9_950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`);

/** What a command last printed, fit for one line of a terminal: no control characters, at most `width` characters. */
export function oneLine(text, width) {
  const lines = stripVTControlCharacters(String(text).replaceAll('\r', '\n'))
    .split('\n')
    .map((line) => line.replace(/\p{Cc}/gu, ' ').trim())
    .filter(Boolean);
  const last = lines.at(-1) ?? '';
  return last.length > width ? `${last.slice(0, Math.max(0, width - 1))}…` : last;
}

/**
 * Runs one step. `work` gets `progress(text)` to say what it is at, and returns a short note on what was done (or nothing), or
 * `{ note, missing: true }` for a failure that the caller goes on without. Resolves with what `work` returned.
 * On a terminal the line is redrawn; elsewhere a line is printed every ten seconds.
 * @throws whatever `work` throws, after printing that the step failed
 */
export async function step(title, work, out = process.stderr) {
  const started = performance.now();
  let last = '';
  let printedMs = 0;
  const clear = () => {
    if (out.isTTY) out.write('\r\u001b[2K'); // what is there may be of a step beside this one
  };
  const timer = setInterval(() => {
    const elapsed = performance.now() - started;
    if (elapsed < QUIET_MS) return;
    if (out.isTTY) {
      clear();
      out.write(`… ${oneLine(`${title} (${seconds(elapsed)}) ${last}`, (out.columns ?? 80) - 3)}`);
    } else if (printedMs === 0 || elapsed - printedMs >= PLAIN_INTERVAL_MS) {
      printedMs = elapsed;
      out.write(`… ${title} (${seconds(elapsed)})${last ? `: ${last}` : ''}\n`);
    }
  }, REDRAW_MS);
  try {
    const result = await work((text) => {
      last = oneLine(text, 100) || last;
    });
    const { note, missing } = typeof result === 'object' ? result : { note: result };
    clear();
    out.write(
      `${missing ? '!' : '✓'} ${title}${note ? `: ${note}` : ''} (${seconds(performance.now() - started)})\n`,
    );
    return result;
  } catch (error) {
    clear();
    out.write(`✗ ${title} (${seconds(performance.now() - started)})\n`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/** As `Promise.all`, and waits for the others where one fails: they print, and write what is tidied up then. */
export async function together(works) {
  await Promise.allSettled(works);
  return Promise.all(works);
}

/** A failure that was foreseen: its text tells the user what to do, so no stack is printed for it. */
export class SetupError extends Error {
  name = 'SetupError';
}

/** Runs a script's main function: prints a foreseen failure as text, anything else with its stack, and sets the exit status. */
export async function runMain(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    process.stderr.write(
      error instanceof SetupError ? `\n${error.message}\n` : `\n${error?.stack ?? error}\n`,
    );
    process.exitCode = 1;
  }
}
