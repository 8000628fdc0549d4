/** A client that asks all the time, each question once: for what must not lose any. */
import type { Cleanup } from '../../platform/cleanup.ts';
import { delay } from '../../platform/wait.ts';
import type { Endpoint } from '../resolver-process.ts';
import { QUESTION, udpClient } from './resolver-harness.ts';

export interface Asking {
  /** Waits until so many more were answered. */
  more(count: number): Promise<void>;
  /** Asks no more. @returns the numbers of the questions that were not answered though the last one was */
  end(): Promise<number[]>;
}

const INTERVAL_MS = 2;
/** Unanswered at once: fewer than a client may have before the resolver drops some, however busy the machine is. */
const MAX_OPEN = 32;

/** Asks over UDP, numbering its questions by their ids. */
export async function askForEver(done: Cleanup, at: Endpoint): Promise<Asking> {
  const socket = await udpClient(done);
  const open = new Set<number>();
  let asked = 0;
  let answered = 0;
  socket.on('message', (answer) => {
    open.delete(answer.readUInt16BE(0));
    answered++;
  });
  const timer = setInterval(() => {
    if (open.size === MAX_OPEN) return;
    const question = Buffer.from(QUESTION);
    question.writeUInt16BE(asked, 0);
    open.add(asked++);
    socket.send(question, at.port, at.address);
  }, INTERVAL_MS);
  done.add('timer', () => clearInterval(timer));
  return {
    more: async (count) => {
      const enough = answered + count;
      while (answered < enough) await delay(5);
    },
    end: async () => {
      clearInterval(timer);
      // What is on its way comes within moments of the last one, or was lost.
      for (let quiet = 0, seen = answered; open.size > 0 && quiet < 50; seen = answered) {
        await delay(20);
        quiet = answered === seen ? quiet + 1 : 0;
      }
      return [...open];
    },
  };
}
