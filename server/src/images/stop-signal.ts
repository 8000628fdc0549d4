/** Signals as STOPSIGNAL names them: `SIGQUIT`, `quit`, `3`, `SIGRTMIN+3`. */
import { constants } from 'node:os';

/** Those of Linux's real-time signals that C libraries leave to programs, whose count starts after their own two. */
const FIRST_REAL_TIME = 34;
const LAST_REAL_TIME = 64;

/** Its number on Linux; undefined for what is no signal. */
export function signalNumber(text: string): number | undefined {
  if (/^[1-9]\d?$/.test(text)) return Number(text) <= LAST_REAL_TIME ? Number(text) : undefined;
  const name = text.toUpperCase().replace(/^(?!SIG)/, 'SIG');
  const [, edge, sign, steps = '0'] = /^SIGRT(MIN|MAX)(?:([-+])(\d{1,2}))?$/.exec(name) ?? [];
  if (edge !== undefined) {
    const number = (edge === 'MIN' ? FIRST_REAL_TIME : LAST_REAL_TIME) + Number(`${sign ?? ''}${steps}`);
    return number >= FIRST_REAL_TIME && number <= LAST_REAL_TIME ? number : undefined;
  }
  return Object.entries(constants.signals).find(([each]) => each === name)?.[1];
}

/** @param fail tells what is wrong and does not return */
export function checkStopSignal(text: string, fail: (problem: string) => never): void {
  if (signalNumber(text) === undefined)
    fail(`STOPSIGNAL takes a signal such as SIGQUIT, 3 or SIGRTMIN+3, not \`${text.slice(0, 40)}\``);
}
