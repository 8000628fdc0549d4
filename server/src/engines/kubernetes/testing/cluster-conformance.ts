/** The conformance suite on a real cluster, which `npm run test:kubernetes` makes. */
import { describe } from 'node:test';
import { engineConformance } from '../../testing/engine-conformance.ts';
import { noCluster, openOnCluster, runtime } from './cluster-harness.ts';

describe('the engine of a cluster, on a real one', () =>
  engineConformance(runtime, openOnCluster, noCluster));
