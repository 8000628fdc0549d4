/**
 * Named points at which a test ends the server as `kill -9` would, to see what the next one makes of what was left. They are always compiled in, and do
 * nothing unless they were asked for.
 */

/** Called with the point's name: what it belongs to, the edge, the moment (`sandbox.running.before-store`). */
export type FaultPoint = (name: string) => void;

export const noFaultPoint: FaultPoint = () => {};

/** Kills the process the first time it comes to the point of that name. */
export const killAt =
  (chosen: string): FaultPoint =>
  (name) => {
    if (name === chosen) process.kill(process.pid, 'SIGKILL');
  };
