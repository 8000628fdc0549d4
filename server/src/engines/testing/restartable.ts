/** Harnesses of engines that live in the process of their test. */
import type { Engine } from '../engine.ts';
import type { EngineHarness } from './engine-suite.ts';

interface TracedEngine extends Engine {
  traces(): Promise<string[]>;
}

/** @param make an engine over the same data each time @param onClose called last */
export async function restartable(
  make: () => TracedEngine,
  failingSpec: EngineHarness['failingSpec'],
  onClose: () => Promise<void> = async () => {},
): Promise<EngineHarness> {
  let engine = make();
  await engine.open();
  return {
    get engine() {
      return engine;
    },
    traces: () => engine.traces(),
    restart: async () => {
      await engine.close();
      engine = make();
      await engine.open();
    },
    failingSpec,
    [Symbol.asyncDispose]: async () => {
      await engine.close();
      await engine.remove();
      await onClose();
    },
  };
}
