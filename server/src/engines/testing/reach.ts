/** What an instance can reach, as a program in it finds out. */
import type { Instance } from '../engine.ts';
import { shell } from './guest.ts';

/** Whether a TCP connection works: "yes", or "no" when it is refused or does not answer. */
export const reaches = async (instance: Instance, address: string, port: number): Promise<string> =>
  shell(instance, `echo | nc -w 3 ${address} ${port} >/dev/null 2>&1 && echo yes || echo no`);

/** The same of what must be reached: a machine that is busy with other things may need more than one try. */
export const reachesInTime = async (instance: Instance, address: string, port: number): Promise<string> => {
  for (let tries = 1; tries < 5; tries++) {
    if ((await reaches(instance, address, port)) === 'yes') return 'yes';
  }
  return reaches(instance, address, port);
};
