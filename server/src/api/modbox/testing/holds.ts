import type { Sandbox } from '../../../sandboxes/sandboxes.ts';

/** How many callers hold a sandbox right now. */
export function countHolds(sandbox: Sandbox): () => number {
  let holds = 0;
  const hold = sandbox.hold.bind(sandbox);
  sandbox.hold = () => {
    const release = hold();
    holds++;
    return () => {
      holds--;
      release();
    };
  };
  return () => holds;
}
