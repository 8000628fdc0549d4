/** A Pod that its node cannot start, on the real cluster that `npm run test:kubernetes` makes: whoever waited is told what the node says. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { newInstanceId } from '../../../ids.ts';
import { type CommandOptions, run } from '../../../platform/command.ts';
import { delay } from '../../../platform/wait.ts';
import { createBusyboxLayer } from '../../testing/busybox-layer.ts';
import { GROUP_TIMEOUT_MS, limits, signal } from '../../testing/engine-suite.ts';
import { TestContent } from '../../testing/test-content.ts';
import type { KubernetesEngine } from '../engine.ts';
import { kubeconfig, makeOnCluster, noCluster } from './cluster-harness.ts';

/** Of a runtime that no node has. */
const CLASS = 'skerry-of-no-node';
const POLL_MS = 200;

const kubectl = async (words: readonly string[], options: CommandOptions = {}): Promise<string> =>
  (await run(['kubectl', '--kubeconfig', kubeconfig, ...words], options)).stdout;

describe('a Pod that its node cannot start', { skip: noCluster, timeout: GROUP_TIMEOUT_MS }, () => {
  let directory: string;
  let engine: KubernetesEngine;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-late-'));
    await createBusyboxLayer(join(directory, 'layer'));
    const manifest = { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name: CLASS } };
    await kubectl(['apply', '--filename', '-'], { input: JSON.stringify({ ...manifest, handler: 'none' }) });
    engine = makeOnCluster(new TestContent(directory), directory, undefined, { runtimeClass: CLASS });
    await engine.open();
  });
  after(async () => {
    await engine?.adopt(new Set());
    await engine?.close();
    await engine?.remove();
    await kubectl(['delete', 'runtimeclass', CLASS, '--ignore-not-found']);
    await rm(directory, { recursive: true, force: true });
  });

  it('says why, once whoever waited gives it up', async () => {
    const late = new AbortController();
    const prepared = await engine.prepare(
      { id: newInstanceId(), layers: [TestContent.ref('layer')], runtime: 'auto' },
      signal(),
    );
    const tenure = { hostname: 'sandbox', limits, network: { kind: 'open' }, mounts: [] } as const;
    const bound = prepared.bind(tenure, late.signal);
    bound.catch(() => {}); // awaited below
    const warned = () =>
      kubectl(['get', 'events', '--field-selector', 'reason=FailedCreatePodSandBox', '--output', 'name']);
    while ((await warned()) === '') await delay(POLL_MS, signal());
    late.abort(new SkerryError('unavailable', 'It took too long.'));
    await assert.rejects(bound, {
      code: 'unavailable',
      message:
        /^The sandbox's Pod did not start in time\. FailedCreatePodSandBox: .*no runtime for "none" is configured\.$/,
    });
    assert.deepEqual(await engine.traces(), []);
  });
});
