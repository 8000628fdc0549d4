import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { agentBinaryPath } from '../../agent/agent-binary.ts';
import type { ContentPlaces } from '../references.ts';
import { engineClaims } from './engine-binding.ts';
import { engineConformance } from './engine-conformance.ts';
import { type EngineHarness, EngineSuite } from './engine-suite.ts';
import { FakeEngine, type FakeEngineOptions } from './fake-engine.ts';
import { noCapabilities } from './no-capabilities.ts';
import { restartable } from './restartable.ts';

const openWith = (options: FakeEngineOptions) => (content: ContentPlaces) => openHarness(content, options);

async function openHarness(content: ContentPlaces, options: FakeEngineOptions): Promise<EngineHarness> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-fake-'));
  const make = () => new FakeEngine(directory, agentBinaryPath(), content, options);
  return restartable(make, {
    mounts: [{ source: { kind: 'scratch', path: 'no-such-directory' }, target: '/mnt', readOnly: true }],
  });
}

const TEST_GPUS = [0, 1].map((n) => ({
  name: `fake/gpu=${n}`,
  types: ['A100'],
  runtimes: new Set(['runc' as const]),
}));

// Without root there is only one user to be, and one owner of files.
const skip = process.getuid?.() === 0 ? false : 'needs root';
describe('the fake engine', () => engineConformance('runc', openWith({ gpus: TEST_GPUS }), skip));

describe('the fake engine, claiming nothing', { skip }, () => {
  let suite: EngineSuite;
  const capabilities = { ...noCapabilities, tenureMounts: true };
  before(async () => {
    suite = await EngineSuite.open('runc', openWith({ capabilities }));
  });
  after(() => suite?.[Symbol.asyncDispose]());
  engineClaims(() => suite);
});
