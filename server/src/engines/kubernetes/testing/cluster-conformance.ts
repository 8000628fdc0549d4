/** The conformance suite on a real cluster, which `npm run test:kubernetes` makes. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { usageReader } from '../../../agent/sandbox-usage.ts';
import { RegistryImages } from '../../../images/registry-images.ts';
import { MachineRoom } from '../../../platform/machine-room.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { ContentPlaces } from '../../references.ts';
import { engineConformance } from '../../testing/engine-conformance.ts';
import { openKubernetesHarness } from './harness.ts';

const { SKERRY_TEST_KUBECONFIG: kubeconfig = '', SKERRY_TEST_REGISTRY: registry = '' } = process.env;
const logger = createLogger('silent');

async function open(content: ContentPlaces) {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-pods-'));
  return openKubernetesHarness({
    ...{ content, kubeconfig, namespace: 'default', runtimeClass: undefined, dataDir: directory },
    ...{ networkPolicies: 'enforced', nameservers: [] },
    readStats: usageReader(logger),
    images: new RegistryImages({
      repository: `${registry}/conformance`,
      insecure: [registry],
      timeoutMs: 60_000,
      directory: join(directory, 'tmp'),
      room: new MachineRoom(directory),
      logger,
    }),
    onClose: () => rm(directory, { recursive: true, force: true }),
  });
}

describe('the engine of a cluster, on a real one', () =>
  engineConformance('runc', open, kubeconfig === '' ? 'npm run test:kubernetes has a cluster' : false));
