/**
 * A device plugin for the kubelet of a cluster of this machine: GPUs that are none, which it hands out as NVIDIA's plugin does, by a variable, and by a device
 * file that is /dev/null's. Who is given which is really decided by scheduler and kubelet.
 */
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import { load } from '@grpc/proto-loader';
import { z } from 'zod';
import { unlessAborted } from '../../../platform/wait.ts';

const PROTO = fileURLToPath(new URL('device-plugin.proto', import.meta.url));
const REGISTER_TIMEOUT_MS = 60_000;

const requestSchema = z.object({
  container_requests: z.array(z.object({ devices_ids: z.array(z.string()) })),
});

export interface TestDevicePluginOptions {
  /** Of `scripts/kubernetes/cluster.sh`. */
  readonly state: string;
  /** `node-1` */
  readonly node: string;
  /** `nvidia.com/gpu` */
  readonly resource: string;
  /** Of its devices; one is /dev/test-ID where it is handed out. */
  readonly ids: readonly string[];
  /** Whether it hands out device files as well; it does without. */
  readonly files?: boolean;
}

/** Resolves once the kubelet knows which devices there are. Disposed of, the kubelet gives out none any more. */
export async function startTestDevicePlugin({
  state,
  node,
  resource,
  ids,
  files = true,
}: TestDevicePluginOptions): Promise<AsyncDisposable> {
  const types = await load(PROTO, { keepCase: true });
  const plugin = serviceOf(types['v1beta1.DevicePlugin']);
  const register = serviceOf(types['v1beta1.Registration']).Register;
  if (!register) throw new Error(`${PROTO} has no Register`);
  // A socket's path has at most 107 bytes.
  const directory = await mkdtemp(join(tmpdir(), 'plugin-'));
  const near = join(directory, 'at');
  await symlink(join(state, 'run', node, 'files/var/lib/kubelet/device-plugins'), near);
  const endpoint = `${resource.replace('/', '-')}.sock`;
  const asked = Promise.withResolvers<void>();
  const server = new grpc.Server();
  server.addService(plugin, {
    GetDevicePluginOptions: (_: unknown, answer: grpc.sendUnaryData<object>) => answer(null, {}),
    ListAndWatch: (call: grpc.ServerWritableStream<object, object>) => {
      call.write({ devices: ids.map((ID) => ({ ID, health: 'Healthy' })) });
      asked.resolve();
    },
    Allocate: (call: grpc.ServerUnaryCall<object, object>, answer: grpc.sendUnaryData<object>) => {
      const wanted = requestSchema.parse(call.request).container_requests;
      answer(null, { container_responses: wanted.map((each) => handOut(each.devices_ids, files)) });
    },
  });
  await rm(join(near, endpoint), { force: true });
  await new Promise<void>((resolve, reject) => {
    const insecure = grpc.ServerCredentials.createInsecure();
    server.bindAsync(`unix:${join(near, endpoint)}`, insecure, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  const kubelet = new grpc.Client(`unix:${join(near, 'kubelet.sock')}`, grpc.credentials.createInsecure());
  const request = { version: 'v1beta1', endpoint, resource_name: resource };
  const limit = AbortSignal.timeout(REGISTER_TIMEOUT_MS);
  await new Promise<void>((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = register;
    const options = { deadline: Date.now() + REGISTER_TIMEOUT_MS };
    kubelet.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error) =>
      error ? reject(error) : resolve(),
    );
  }).finally(() => kubelet.close());
  await unlessAborted(asked.promise, limit);
  return {
    [Symbol.asyncDispose]: async () => {
      server.forceShutdown();
      await rm(join(near, endpoint), { force: true });
      await rm(directory, { recursive: true });
    },
  };
}

const handOut = (given: readonly string[], files: boolean) => ({
  envs: { NVIDIA_VISIBLE_DEVICES: given.toSorted().join(',') },
  devices: (files ? given : []).map((id) => ({
    ...{ container_path: `/dev/test-${id}`, host_path: '/dev/null', permissions: 'rw' },
  })),
});

/** A description of a service has no format; one of a message has. */
function serviceOf(definition: grpc.ServiceDefinition | { readonly format: string } | undefined) {
  if (!definition || 'format' in definition) throw new Error(`${PROTO} lacks a service`);
  return definition as grpc.ServiceDefinition; // what is no message and no enumeration there
}
