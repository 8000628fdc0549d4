/** Whether garbage is garbage. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose_gc');
const collect = runInNewContext('gc') as () => void; // what the flag adds

/** Whether nothing holds the object any more; what only the last turns of the event loop hold gets a few to be let go. */
export async function isLetGo(reference: WeakRef<object>): Promise<boolean> {
  for (let turn = 0; turn < 20 && reference.deref(); turn++) {
    await new Promise(setImmediate);
    collect();
  }
  return reference.deref() === undefined;
}
