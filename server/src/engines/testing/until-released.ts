import { delay } from '../../platform/wait.ts';
import type { Instance } from '../engine.ts';
import { signal } from './engine-suite.ts';

/** Resolves once an engine has let go of an instance that another took over from it (`Engine.adopt`). */
export async function untilReleased(instance: Instance): Promise<void> {
  const deadline = signal();
  for (;;) {
    try {
      (await instance.dial(deadline)).destroy();
    } catch (error) {
      deadline.throwIfAborted();
      if ((error as { readonly code?: string }).code === 'unavailable') return;
      throw error;
    }
    await delay(5, deadline);
  }
}
