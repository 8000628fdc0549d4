/**
 * GPUs that a cluster's device plugins hand out, through the official Python client: `npm run test:kubernetes`. Nothing is behind them, but scheduler, kubelet and
 * runtime take them for devices: node-1 has a T4 as Google says it, node-2 is kept for its two A100s, as NVIDIA says it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startTestDevicePlugin } from '../../server/src/engines/kubernetes/testing/test-device-plugin.ts';
import { runPython } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { cluster, kubeconfig, kubectl, nodeOf, registry } from './cluster.ts';

const NODES = {
  'node-1': { label: 'cloud.google.com/gke-accelerator=nvidia-tesla-t4', ids: ['t4'] },
  'node-2': { label: 'nvidia.com/gpu.product=NVIDIA-A100-SXM4-80GB', ids: ['a100-0', 'a100-1'] },
};
const TAINT = 'nvidia.com/gpu=present:NoSchedule';

const prelude = `
import modal, threading
app = modal.App.lookup("e2e-kubernetes-gpus", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").env({"NVIDIA_VISIBLE_DEVICES": "all"})
def create(**options):
    return modal.Sandbox.create(app=app, image=image, **options)
def has(sandbox):
    return sandbox.exec("sh", "-c", "hostname -I; ls /dev | grep test-; echo $NVIDIA_VISIBLE_DEVICES").stdout.read().split()
def ended(sandbox):
    try: return f"worked: {has(sandbox)}"
    except Exception as error: return f"{type(error).__name__} {error}"
`;

describe('GPUs on Kubernetes', () => {
  let server: TestServer;
  const scope = new AsyncDisposableStack();
  before(async () => {
    await cluster('add', '2');
    scope.defer(() => cluster('lose', '2'));
    for (const [node, { label, ids }] of Object.entries(NODES)) {
      const { STATE: state = '' } = process.env;
      scope.use(await startTestDevicePlugin({ state, node, resource: 'nvidia.com/gpu', ids }));
      await kubectl('label', 'node', node, label);
      const count = `jsonpath={.status.allocatable.nvidia\\.com/gpu}=${ids.length}`;
      await kubectl('wait', `--for=${count}`, `node/${node}`, '--timeout=60s');
    }
    scope.defer(() => kubectl('label', 'node', 'node-1', 'cloud.google.com/gke-accelerator-').then(() => {}));
    await kubectl('taint', 'node', 'node-2', TAINT);
    server = await startServer({
      flags: [
        ...['--engine', 'kubernetes', '--kubeconfig', kubeconfig, '--registry', `${registry}/skerry`],
        ...['--insecure-registries', registry, '--network-policies', 'enforced'],
      ],
    });
    scope.defer(() => server.stop());
  });
  after(() => scope.disposeAsync());

  const python = async (program: string): Promise<string> => {
    const { code, stdout, stderr } = await runPython(server, `${prelude}\n${program}`);
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    return stdout.trim();
  };

  test('a sandbox has as many as it asked for, of that type, and its programs are told which', async () => {
    const out = await python(`
sb = create(gpu="A100:2"); print(*has(sb)); sb.terminate()
sb = create(gpu="T4"); print(*has(sb)); sb.terminate()
sb = create(); print(*has(sb)); sb.terminate()
`);
    const [both = '', one = '', none = ''] = out.split('\n');
    const [address = '', ...rest] = both.split(' ');
    assert.deepEqual([nodeOf(address), ...rest], ['node-2', 'test-a100-0', 'test-a100-1', 'a100-0,a100-1']);
    const [near = '', ...its] = one.split(' ');
    assert.deepEqual([nodeOf(near), ...its], ['node-1', 'test-t4', 't4']);
    // Nothing but what its image says, which no runtime hears of.
    const [elsewhere = '', ...nothing] = none.split(' ');
    assert.deepEqual([nodeOf(elsewhere), ...nothing], ['node-1', 'all']);
  });

  test('one that finds none free ends with the reason, and one that is waited for comes at the end of another', async () => {
    const out = await python(`
first, second = create(gpu="a100"), create(gpu="A100-80GB")
seen = {has(first)[-1], has(second)[-1]}
print(*sorted(seen))
print(ended(create(gpu="A100")))
third = []
def wait():
    with_gpu = create(gpu="A100")
    third.append(has(with_gpu)[-1])
    with_gpu.terminate()
waiting = threading.Thread(target=wait)
waiting.start()
first.terminate()
waiting.join()
print(third[0] in seen)
second.terminate()
`);
    const [taken, refused = '', came] = out.split('\n');
    assert.equal(taken, 'a100-0 a100-1');
    assert.match(
      refused,
      /No node of the cluster has 1 × nvidia.com\/gpu of type A100 free\. Unschedulable: 0\/2 nodes are available: 1 Insufficient nvidia.com\/gpu, 1 node\(s\) didn't match Pod's node affinity\/selector\./,
    );
    assert.equal(came, 'True');
  });

  test('any is of either node; what no node has is said by the scheduler, what nobody knows at once', async () => {
    const out = await python(`
all = [create(gpu="any") for _ in range(3)]
print(*sorted(has(each)[-1] for each in all))
for each in all: each.terminate()
print(ended(create(gpu="H200")))
try: create(gpu="RTX-4090")
except modal.exception.InvalidError as error: print(error)
`);
    const [any, absent = '', unknown = ''] = out.split('\n');
    assert.equal(any, 'a100-0 a100-1 t4');
    assert.match(absent, /of type H200 free\. .*didn't match Pod's node affinity/);
    assert.match(unknown, /RTX-4090 wanted\. This server knows .*A100-80GB/);
  });

  test('a quota of the namespace bounds them', async () => {
    await kubectl('create', 'quota', 'gpus', '--hard=requests.nvidia.com/gpu=1');
    const out = await python('print(ended(create(gpu="A100:2")))').finally(() =>
      kubectl('delete', 'quota', 'gpus'),
    );
    assert.match(out, /exceeded quota: gpus, requested: requests.nvidia.com\/gpu=2/);
  });

  test('a server that is killed leaves them with their sandboxes', async () => {
    const id = await python(`sb = create(gpu="T4"); has(sb); print(sb.object_id)`);
    await server.kill9();
    await server.restart();
    const out = await python(`sb = modal.Sandbox.from_id("${id}"); print(has(sb)[-1]); sb.terminate()`);
    assert.equal(out, 't4');
  });
});
