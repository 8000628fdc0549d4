import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { newInstanceId, newLayerId, newVolumeMountId } from '../../ids.ts';
import { gpuKinds, nodesWith } from './gpu-kinds.ts';
import {
  deviceEnvironmentOf,
  deviceMarks,
  devicesOf,
  instanceOf,
  layersOf,
  memberOf,
  podName,
  podOf,
  podVolumesOf,
  policyOf,
  runtimeOf,
  type SandboxPod,
  secretOf,
} from './pod-spec.ts';

const spec: SandboxPod = {
  id: newInstanceId(),
  serverId: '0123456789abcdef',
  member: undefined,
  namespace: 'sandboxes',
  runtime: 'runc',
  runtimeClass: undefined,
  gpus: undefined,
  gateway: undefined,
  certificates: undefined,
  layers: [newLayerId()],
  volumes: [],
  image: 'registry.example/skerry:layers-1',
  agentImage: 'registry.example/skerry:programs-1',
  hostname: 'modal',
  limits: { memoryMiB: 512, milliCpu: 1500, milliCpuRequest: 125, pids: 100 },
  owner: 'a-uid',
  pullSecret: undefined,
  network: undefined,
  nameservers: [],
};

describe('the Pod of a sandbox', () => {
  const pod = podOf(spec);
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  const named = (name: string) => containers.find((container) => container.name === name);

  it('is named so that Kubernetes takes it, the same each time, and says whose it is', () => {
    assert.match(pod.metadata?.name ?? '', /^[a-z][a-z0-9-]{0,62}$/);
    assert.equal(pod.metadata?.name, podName(spec.serverId, spec.id));
    assert.notEqual(podName('fedcba9876543210', spec.id), podName(spec.serverId, spec.id));
    assert.equal(instanceOf(pod), spec.id);
    assert.equal(instanceOf({ metadata: { labels: { 'skerry.dev/instance': 'no id' } } }), undefined);
  });

  it('says which of several servers has it, and nothing where there is one', () => {
    const label = 'skerry.dev/member';
    const none = Buffer.alloc(0);
    const credentials = { certificate: none, authority: none, key: none };
    for (const made of [pod, secretOf(spec, credentials)])
      assert.ok(!(label in (made.metadata?.labels ?? {})));
    const member = 'sv-0123456789abcdef';
    for (const made of [podOf({ ...spec, member }), secretOf({ ...spec, member }, credentials)])
      assert.equal(memberOf(made), member);
  });

  it('says what it was made of, and believes no path', () => {
    assert.deepEqual(layersOf(pod), spec.layers);
    assert.equal(layersOf({ metadata: {} }), undefined);
    for (const name of ['..', '/etc', 'a/b', ''])
      assert.throws(() =>
        layersOf({ metadata: { annotations: { 'skerry.dev/layers': JSON.stringify([name]) } } }),
      );
  });

  it('has its volumes on the node, all of each for the agent alone, and says which they are', () => {
    const seen = [
      { target: '/data', path: '', readOnly: false },
      { target: '/part', path: 'a/b', readOnly: true },
    ];
    const volumes = [{ tree: newVolumeMountId(), seen }];
    const made = podOf({ ...spec, volumes });
    assert.deepEqual(made.spec?.volumes?.at(-1), { name: 'volume-0', emptyDir: {} });
    const sandbox = made.spec?.containers.find(({ name }) => name === 'sandbox');
    assert.deepEqual(sandbox?.volumeMounts?.slice(1), [
      { name: 'volume-0', mountPath: '/__modal/.volumes/0' },
      { name: 'volume-0', mountPath: '/data', readOnly: false },
      { name: 'volume-0', mountPath: '/part', readOnly: true, subPath: 'a/b' },
    ]);
    assert.deepEqual(podVolumesOf(made), volumes);
    assert.deepEqual(podVolumesOf(pod), []);
    const annotations = { 'skerry.dev/volumes': JSON.stringify([{ tree: '../x', seen: [] }]) };
    assert.throws(() => podVolumesOf({ metadata: { annotations } }));
  });

  it('goes with its Secret', () => {
    const nothing = Buffer.of();
    const secret = secretOf(spec, { certificate: nothing, authority: nothing, key: nothing });
    assert.equal(secret.metadata?.name, pod.metadata?.name);
    const [owner] = pod.metadata?.ownerReferences ?? [];
    assert.deepEqual([owner?.kind, owner?.name, owner?.uid], ['Secret', secret.metadata?.name, 'a-uid']);
  });

  it('has the limits and asks for less', () => {
    assert.deepEqual(named('sandbox')?.resources, {
      limits: { cpu: '1500m', memory: '512Mi' },
      requests: { cpu: '125m', memory: '128Mi' },
    });
  });

  it('gives the sandbox nothing of the cluster, of the node, or of the link', () => {
    assert.equal(pod.spec?.automountServiceAccountToken, false);
    assert.equal(pod.spec?.enableServiceLinks, false);
    for (const setting of ['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace'] as const) {
      assert.ok(!pod.spec?.[setting], setting);
    }
    assert.deepEqual(named('sandbox')?.volumeMounts, [
      { name: 'agent', mountPath: '/__modal', readOnly: true },
    ]);
    for (const { name, securityContext } of containers) {
      assert.deepEqual(securityContext?.capabilities?.drop, ['ALL'], name);
      assert.ok(!securityContext?.privileged, name);
    }
    const added = named('sandbox')?.securityContext?.capabilities?.add;
    for (const name of ['SYS_ADMIN', 'NET_RAW']) assert.ok(!added?.includes(name), name);
    assert.ok(added?.includes('CHOWN'));
    assert.equal(named('link')?.securityContext?.readOnlyRootFilesystem, true);
  });

  it('has GPUs for the sandbox alone, on nodes that have them, and a runtime of NVIDIA gives it no others', () => {
    const kind = gpuKinds([]).find(({ type }) => type === 'T4') ?? assert.fail();
    const made = podOf({ ...spec, gpus: { kind, count: 2 } });
    const all = [...(made.spec?.initContainers ?? []), ...(made.spec?.containers ?? [])];
    const limitOf = (name: string) => all.find((each) => each.name === name)?.resources?.limits;
    assert.equal(limitOf('sandbox')?.['nvidia.com/gpu'], '2');
    assert.equal(limitOf('link')?.['nvidia.com/gpu'], undefined);
    const { nodeSelectorTerms = [] } =
      made.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? {};
    assert.deepEqual(nodeSelectorTerms, nodesWith(kind));
    assert.ok(made.spec?.tolerations?.some(({ key }) => key === 'nvidia.com/gpu'));
    assert.deepEqual(devicesOf(made), ['T4', 'T4']);
    const seen = (of: V1Pod) =>
      [...(of.spec?.initContainers ?? []), ...(of.spec?.containers ?? [])].map(
        ({ name, env = [] }) => `${name} ${env.map((each) => `${each.name}=${each.value}`)}`,
      );
    const none = 'NVIDIA_VISIBLE_DEVICES=void';
    assert.deepEqual(seen(made), [`install ${none}`, `link ${none}`, 'sandbox ']);
    assert.deepEqual(seen(pod), [`install ${none}`, `link ${none}`, `sandbox ${none}`]);
    const amd = { type: 'MI300X', resource: 'amd.com/gpu', labels: [] };
    const others = podOf({ ...spec, gpus: { kind: amd, count: 1 } });
    assert.deepEqual(seen(others).at(-1), `sandbox ${none}`);
    assert.equal(others.spec?.affinity, undefined);
    for (const each of [pod, made]) assert.equal(runtimeOf(each), 'runc');
  });

  it('says what its node said of its devices', () => {
    const environment = { NVIDIA_VISIBLE_DEVICES: 'GPU-1' };
    assert.deepEqual(
      deviceEnvironmentOf({ metadata: { annotations: deviceMarks(environment) } }),
      environment,
    );
    assert.deepEqual([deviceEnvironmentOf(pod), devicesOf(pod)], [{}, []]);
  });

  it('has the RuntimeClass that is asked for, and one socket for all of its containers there', () => {
    assert.equal(pod.spec?.runtimeClassName, undefined);
    const { metadata, spec: inGvisor } = podOf({ ...spec, runtime: 'gvisor', runtimeClass: 'gvisor' });
    assert.equal(inGvisor?.runtimeClassName, 'gvisor');
    assert.equal(runtimeOf({ ...(metadata && { metadata }) }), 'gvisor');
    const nvidias = podOf({ ...spec, runtimeClass: 'nvidia' });
    assert.deepEqual([nvidias.spec?.runtimeClassName, runtimeOf(nvidias)], ['nvidia', 'runc']);
    const volume = inGvisor?.volumes?.find(({ emptyDir }) => emptyDir);
    assert.equal(metadata?.annotations?.[`dev.gvisor.spec.mount.${volume?.name}.share`], 'pod');
  });

  it('says which network policy it has, where there are such, also to the next server', () => {
    assert.equal(policyOf(pod), undefined);
    const network = { kind: 'allowlist', cidrs: ['198.51.100.7/32'] } as const;
    const held = podOf({ ...spec, network });
    assert.equal(held.metadata?.labels?.['skerry.dev/network'], 'allowlist');
    assert.equal(instanceOf(held), spec.id);
    assert.deepEqual(policyOf(held), network);
  });

  it('asks those for names who are named, and else whom its node asks', () => {
    assert.equal(pod.spec?.dnsPolicy, 'Default');
    const asking = podOf({ ...spec, nameservers: ['192.0.2.53'] }).spec;
    assert.equal(asking?.dnsPolicy, 'None');
    assert.deepEqual(asking?.dnsConfig?.nameservers, ['192.0.2.53']);
  });

  it('is not made with a hostname that no Pod can have', () => {
    for (const hostname of ['', 'Modal', 'no hostname', 'a.b', `${'a'.repeat(64)}`]) {
      assert.throws(() => podOf({ ...spec, hostname }), { code: 'invalid-argument' });
    }
  });
});
