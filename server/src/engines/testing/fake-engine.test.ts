import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { agentBinaryPath } from '../../agent/agent-binary.ts';
import type { ContentPlaces } from '../references.ts';
import { engineConformance } from './engine-conformance.ts';
import type { EngineHarness } from './engine-suite.ts';
import { FakeEngine } from './fake-engine.ts';

async function openHarness(content: ContentPlaces): Promise<EngineHarness> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-fake-'));
  const make = () => new FakeEngine(directory, agentBinaryPath(), content);
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
    failingSpec: {
      mounts: [{ source: { kind: 'scratch', path: 'no-such-directory' }, target: '/mnt', readOnly: true }],
    },
    [Symbol.asyncDispose]: async () => {
      await engine.close();
      await engine.remove();
    },
  };
}

// Without root there is only one user to be, and one owner of files.
const skip = process.getuid?.() === 0 ? false : 'needs root';
describe('the fake engine', () => engineConformance('runc', openHarness, skip));
