import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import type { GPUConfigSchema } from '../gen/modal/common_pb.ts';
import {
  type PortSpecSchema,
  type Sandbox as SandboxMessage,
  SandboxSchema,
} from '../gen/modal/sandboxes_pb.ts';
import { code, controlPlane, definition, withApi } from '../testing/clients.ts';

test('definitions: defaults, and refusals by name', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    type Fields = MessageInitShape<typeof SandboxSchema> & { $unknown?: SandboxMessage['$unknown'] };
    const createWith = ({ $unknown, ...fields }: Fields) => {
      const message = create(SandboxSchema, { ...definition, ...fields });
      if ($unknown) message.$unknown = $unknown;
      return client.sandboxCreateV2({ appId: served.appId, definition: message });
    };
    await createWith({ timeoutSecs: 0, ptyInfo: { enabled: true }, workdir: '' });
    const newest = () => served.sandboxes.list({ limit: 1 })[0];
    const spec = newest()?.spec;
    assert.equal(spec?.timeoutMs, 300_000);
    assert.deepEqual(spec?.pty, { rows: 24, cols: 80 });
    assert.equal(spec?.workdir, undefined);
    assert.deepEqual(spec?.network, { kind: 'open' });
    await createWith({ blockNetwork: true });
    assert.deepEqual(newest()?.spec.network, { kind: 'blocked' });
    await createWith({ inboundCidrAllowlist: ['203.0.113.0/24', '2001:db8::/32'] });
    assert.deepEqual(newest()?.spec.inboundCidrs, ['203.0.113.0/24', '2001:db8::/32']);
    await createWith({ experimentalOptionsV2: { enable_exit_snapshot: 'False' } });

    const openPorts = (ports: MessageInitShape<typeof PortSpecSchema>[]): Fields => ({
      openPortsOneof: { case: 'openPorts', value: { ports } },
    });
    await createWith(openPorts([]));
    assert.equal(newest()?.spec.openPorts, undefined);
    await createWith(openPorts([{ port: 80 }, { port: 81, tunnelType: 1 }, { port: 80, unencrypted: true }]));
    assert.deepEqual(newest()?.spec.openPorts, [
      { port: 80, h2: false, plain: true },
      { port: 81, h2: true, plain: false },
    ]);

    const gpu = (gpuConfig: MessageInitShape<typeof GPUConfigSchema>): Fields => ({
      resources: { gpuConfig },
    });
    const last = newest()?.id;
    const refused: [RegExp, Fields][] = [
      [
        /oidc_auth_role_arn/,
        { cloudBucketMounts: [{ bucketName: 'data', mountPath: '/b', oidcAuthRoleArn: 'arn' }] },
      ],
      [/proxy_id/, { proxyId: 'pr-1' }],
      [/i6pn_enabled/, { i6pnEnabled: true }],
      [/custom_domain/, { customDomain: 'x.example' }],
      [/enable_snapshot.*needs gVisor/, { enableSnapshot: true }],
      [/oidc/, { includeOidcIdentityToken: true }],
      [/x509/, { includeX509Svid: true }],
      [/ephemeral_disk/, { resources: { ephemeralDiskMb: 64 } }], // the engine of these tests bounds no disk
      [/runtime "vm"/, { runtime: 'vm' }],
      [/some_option/, { experimentalOptionsV2: { some_option: 'True' } }],
      [/some_option/, { experimentalOptionsV2: { some_option: 'true' } }],
      [/nfs_mounts/, { $unknown: [{ no: 9, wireType: 2, data: new Uint8Array([0]) }] }],
      [/outbound_policy/, { $unknown: [{ no: 44, wireType: 2, data: new Uint8Array([0]) }] }],
      [/field 99/, { $unknown: [{ no: 99, wireType: 0, data: new Uint8Array([1]) }] }],
    ];
    for (const [message, fields] of refused) {
      await assert.rejects(createWith(fields), code(Code.Unimplemented, message));
    }
    const noVolume = { volumeMounts: [{ volumeId: 'vo-1', mountPath: '/v' }] };
    await assert.rejects(createWith(noVolume), code(Code.NotFound, /Volume 'vo-1' not found/));
    const invalid: [RegExp, Fields][] = [
      [/ephemeral_disk/, { resources: { ephemeralDiskMb: 1024 } }],
      [/ephemeral_disk/, { experimentalOptionsV2: { ephemeral_disk: 'much' } }],
      [/ephemeral_disk/, { experimentalOptionsV2: { ephemeral_disk: '8' } }],
      [/reserved/, { volumeMounts: [{ volumeId: 'vo-1', mountPath: '/proc/x' }] }],
      [/absolute/, { volumeMounts: [{ volumeId: 'vo-1', mountPath: 'v' }] }],
      [/'\.\.'/, { volumeMounts: [{ volumeId: 'vo-1', mountPath: '/v', subPath: '../x' }] }],
      [/gpu: 1 GPU of type H100 wanted\. This server has none/, gpu({ gpuType: 'H100', count: 1 })],
      [/2 GPUs of type A100-80GB/, gpu({ type: 8, count: 2 })],
      [/no type of GPU/, gpu({ gpuType: 'no such', count: 1 })],
      [/no type of GPU/, gpu({ count: 1 })],
      [/gpu_config.count/, gpu({ gpuType: 'H100' })],
      [/gpu_config.count/, gpu({ gpuType: 'H100', count: 100_000 })],
      [/Invalid domain: no_name/, { networkAccess: { networkAccessType: 3, allowedDomains: ['no_name'] } }],
      [/Invalid CIDR: 10\.0\.0\.0\/33/, { inboundCidrAllowlist: ['10.0.0.0/33'] }],
      [/open_ports: port/, openPorts([{ port: 0 }])],
      [/open_ports: port/, openPorts([{ port: 70_000 }])],
      [/more than 64/, openPorts(Array.from({ length: 65 }, (_, port) => ({ port: port + 1 })))],
      [/image_id/, { imageId: '' }],
      [/name/, { name: 'a/b' }],
      [/timeout_secs/, { timeoutSecs: 8 * 86_400 }],
      [/idle_timeout_secs/, { idleTimeoutSecs: 0 }],
      [/workdir/, { workdir: 'x' }],
      [/memory_mb_max/, { resources: { memoryMb: 512, memoryMbMax: 256 } }],
      [/milli_cpu_max/, { resources: { milliCpu: 512, milliCpuMax: 256 } }],
      [/runtime/, { runtime: 'qemu' }],
      [/mount_ids/, { mountIds: ['../x'] }],
      [/readiness_probe/, { readinessProbe: {} }],
      [/tcp_port/, { readinessProbe: { probeOneof: { case: 'tcpPort', value: 70_000 } } }],
      [/NUL/, { entrypointArgs: ['\0'] }],
      [/exclude/, { blockNetwork: true, networkAccess: { networkAccessType: 1 } }],
    ];
    for (const [message, fields] of invalid) {
      await assert.rejects(createWith(fields), code(Code.InvalidArgument, message));
    }
    // The engine of these tests mounts none.
    const bucket = { cloudBucketMounts: [{ bucketName: 'data', mountPath: '/b' }] };
    await assert.rejects(createWith(bucket), code(Code.FailedPrecondition, /s3fs.*skerry doctor/));
    await assert.rejects(
      client.sandboxCreateV2({ appId: served.appId }),
      code(Code.InvalidArgument, /definition/),
    );
    await assert.rejects(client.sandboxCreateV2({ appId: 'ap-none', definition }), code(Code.NotFound));
    assert.equal(newest()?.id, last, 'nothing was created');
  }));
