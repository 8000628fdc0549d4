/** What a program of the host says over its control socket, and is told there while it runs (`host-process/src/control.rs`). */
import type { Duplex } from 'node:stream';
import type { SkerryError } from '../errors/skerry-error.ts';

/** An order is carried out at once; the rest is for a machine that is busy with other things. */
export const ORDER_MS = 10_000;
const LENGTH_BYTES = 4;
/** Of an audit: 2048 events of the longest names. */
const MAX_ANSWER = 1 << 20;

const MAX_GREETING = 512;

/**
 * Reads what such a program says first, on a link on which nothing was read yet.
 * @param greeting its name
 * @returns undefined when it is another one, or the link ends or that takes longer
 */
export function readGreeting(
  link: Duplex,
  greeting: string,
  withinMs: number,
): Promise<{ readonly identity: string; readonly pid: number } | undefined> {
  const expected = new RegExp(`^${greeting} ([!-~]+) (\\d+)\\n`);
  return new Promise((resolve) => {
    let said = '';
    const finish = (met: { readonly identity: string; readonly pid: number } | undefined) => {
      clearTimeout(timer);
      link.off('data', onData).off('close', onClose);
      resolve(met);
    };
    const onData = (chunk: Buffer) => {
      said += chunk.toString('latin1');
      const [, identity, pid] = expected.exec(said) ?? [];
      if (identity !== undefined) finish({ identity, pid: Number(pid) });
      else if (said.length > MAX_GREETING) finish(undefined);
    };
    const onClose = () => finish(undefined);
    const timer = setTimeout(onClose, withinMs);
    link.on('data', onData).on('close', onClose);
  });
}

/** Sends an order and waits for its answer. One after the other. @throws what `unavailable` gives, when there is none */
export function sendOrder(
  link: Duplex | undefined,
  letter: string,
  words: readonly string[],
  unavailable: () => SkerryError,
): Promise<string> {
  return new Promise((resolve, reject) => {
    if (!link || link.destroyed) return reject(unavailable());
    let answer = Buffer.alloc(0);
    const finish = (text: string | undefined) => {
      clearTimeout(timer);
      link.off('data', onData).off('close', onClose);
      if (text !== undefined) return resolve(text);
      link.destroy(); // what came late would be taken for the next answer
      reject(unavailable());
    };
    const onData = (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk]);
      if (answer.length < LENGTH_BYTES) return;
      const length = answer.readUInt32BE(0);
      if (length > MAX_ANSWER) finish(undefined);
      else if (answer.length >= LENGTH_BYTES + length) finish(answer.toString('latin1', LENGTH_BYTES));
    };
    const onClose = () => finish(undefined);
    const timer = setTimeout(finish, ORDER_MS, undefined);
    link.on('data', onData).on('close', onClose);
    const text = Buffer.from(words.join(' '), 'latin1');
    const header = Buffer.alloc(1 + LENGTH_BYTES);
    header.write(letter, 'latin1');
    header.writeUInt32BE(text.length, 1);
    link.write(Buffer.concat([header, text]));
  });
}
