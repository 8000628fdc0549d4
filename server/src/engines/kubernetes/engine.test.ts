import { describe } from 'node:test';
import { engineConformance } from '../testing/engine-conformance.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

describe('the engine of a cluster', () =>
  engineConformance(
    'runc',
    async (content) => (await openOnFakeCluster(content)).harness,
    process.getuid?.() === 0 ? false : 'needs root',
  ));
