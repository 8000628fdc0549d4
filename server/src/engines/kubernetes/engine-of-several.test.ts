import { describe } from 'node:test';
import { newMemberId } from '../../ids.ts';
import { engineConformance } from '../testing/engine-conformance.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

describe('the engine of a cluster, of one of several servers', () =>
  engineConformance(
    'runc',
    async (content) => (await openOnFakeCluster(content, { member: newMemberId() })).harness,
    process.getuid?.() === 0 ? false : 'needs root',
  ));
