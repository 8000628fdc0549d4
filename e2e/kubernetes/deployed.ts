/** The server as a Pod of a real cluster, by the manifests of `deploy/kubernetes`: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { servePublicly } from '../../server/src/engines/kubernetes/testing/public-server.ts';
import { run } from '../../server/src/platform/command.ts';
import { pythonWith, runPython } from '../support/clients.ts';
import { runProgram } from '../support/program.ts';
import { projectRoot, startServer } from '../support/server.ts';
import { environment, findsKept, kubectl, registry } from './cluster.ts';

/** A directory of the node, for the server's volume. */
const { SKERRY_TEST_VOLUME: volume = '' } = process.env;

/** What `docs/kubernetes.md` has an operator write, for this cluster, which has no class of volumes and a registry without TLS. */
async function kustomization(directory: string): Promise<string> {
  const page = await readFile(join(projectRoot, 'docs/kubernetes.md'), 'utf8');
  const [, example = ''] = /```yaml\n(resources:[^`]*)```/.exec(page) ?? [];
  const settings = [
    `SKERRY_INSECURE_REGISTRIES=${registry}`,
    `SKERRY_REGISTRY_MIRRORS=${registry}=${registry}`,
    'SKERRY_WARM_POOL=1',
  ];
  return example
    .replace(
      'skerry/deploy/kubernetes',
      `${relative(directory, join(projectRoot, 'deploy/kubernetes'))}, volume.yaml`,
    )
    .replaceAll('registry.example', registry)
    .replace(/newTag: [0-9.]+/, 'newTag: test')
    .replace(
      /^( +- )SKERRY_REGISTRY=/m,
      (line, indent) => settings.map((each) => `${indent}${each}\n`).join('') + line,
    );
}
const persistentVolume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: skerry-test}
spec:
  capacity: {storage: 50Gi}
  accessModes: [ReadWriteOnce]
  claimRef: {namespace: skerry, name: data-skerry-0}
  hostPath: {path: ${volume}, type: DirectoryOrCreate}
`;

/** Sends an image of a server of this machine, which can make it without a registry, to where the one in the cluster finds it. */
async function pushBase(): Promise<void> {
  const server = await startServer({ flags: ['--insecure-registries', registry] });
  try {
    const program = `
import modal
app = modal.App.lookup("e2e-deployed", create_if_missing=True)
print(modal.Image.debian_slim(python_version="3.11").build(app).object_id)
`;
    const { code, stdout, stderr } = await runPython(server, program);
    assert.equal(code, 0, stderr);
    const answer = await fetch(`${server.url}/skerry/v1/images/push`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.token.tokenId}:${server.token.tokenSecret}` },
      body: JSON.stringify({ image: stdout.trim(), reference: `${registry}/base/python` }),
    });
    assert.doesNotMatch(await answer.text(), /"error"/);
  } finally {
    await server.stop();
  }
}

const prelude = `
import modal
app = modal.App.lookup("e2e-deployed", create_if_missing=True)
image = modal.Image.from_registry("${registry}/base/python").run_commands("echo built > /built")
`;

/** A port of this machine that leads to the server, as `kubectl port-forward` makes one. */
async function forward(): Promise<{ readonly port: string; close(): void }> {
  const child = spawn('kubectl', ['--namespace', 'skerry', 'port-forward', 'pod/skerry-0', ':7423'], {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /^Forwarding from 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return { port, close: () => void child.kill() };
  }
  throw new Error('kubectl port-forward ended');
}

describe('the server as a Pod', () => {
  let directory: string;
  const ready = () =>
    kubectl('--namespace', 'skerry', 'rollout', 'status', 'statefulset/skerry', '--timeout=280s');
  const python = async (program: string): Promise<string> => {
    const variables = JSON.parse(
      await kubectl('--namespace', 'skerry', 'exec', 'skerry-0', '--', 'skerry', 'env', '--format', 'json'),
    ) as Record<string, string>; // of our own command
    const way = await forward();
    try {
      const env = { ...environment, ...variables, MODAL_SERVER_URL: `http://127.0.0.1:${way.port}` };
      const { code, stdout, stderr } = await runProgram([pythonWith(), '-c', `${prelude}\n${program}`], {
        env,
      });
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      return stdout.trim();
    } finally {
      way.close();
    }
  };

  before(async () => {
    await pushBase();
    directory = await mkdtemp(join(tmpdir(), 'skerry-deployed-'));
    await writeFile(join(directory, 'kustomization.yaml'), await kustomization(directory));
    await writeFile(join(directory, 'volume.yaml'), persistentVolume);
    await kubectl('apply', '--kustomize', directory);
    await ready();
  });
  after(async () => {
    await kubectl('delete', '--kustomize', directory, '--ignore-not-found');
    await rm(directory, { recursive: true, force: true });
  });

  test('builds an image, and runs a sandbox of it in the other namespace', async () => {
    const out = await python(`
sb = modal.Sandbox.create(app=app, image=image)
print(sb.exec("cat", "/built").stdout.read())
sb.terminate()
`);
    assert.equal(out, 'built');
  });

  test('opens nothing to a sandbox that is to be closed', async () => {
    await using outside = await servePublicly(registry.split(':')[0] ?? '');
    const out = await python(`
for closed in (False, True):
    sb = modal.Sandbox.create(app=app, image=image, block_network=closed)
    program = 'import socket; s = socket.socket(); s.settimeout(5); print(s.connect_ex(("${outside.address}", ${outside.port})))'
    print(sb.exec("python", "-c", program).stdout.read().strip())
    sb.terminate()
`);
    assert.match(out, /^0\n[1-9]\d*$/);
  });

  test('is replaced while a sandbox goes on', async () => {
    const id = await python(`
sb = modal.Sandbox.create(app=app, image=image)
sb.exec("sh", "-c", "echo kept > /tmp/kept").wait()
print(sb.object_id)
`);
    await kubectl('--namespace', 'skerry', 'rollout', 'restart', 'statefulset/skerry');
    await ready();
    const out = await python(findsKept(id));
    assert.equal(out, 'kept');
  });

  test('may do no more than it needs', async () => {
    const may = (...words: string[]) =>
      run(['kubectl', 'auth', 'can-i', '--as=system:serviceaccount:skerry:skerry', ...words], {
        env: environment,
        okCodes: [1],
      }).then(({ stdout }) => stdout.trim());
    assert.equal(await may('create', 'pods', '--namespace=skerry-sandboxes'), 'yes');
    assert.equal(await may('get', 'secrets', '--namespace=skerry-sandboxes'), 'no');
    assert.equal(await may('create', 'pods', '--namespace=skerry'), 'no');
    assert.equal(await may('list', 'nodes'), 'no');
    assert.equal(await may('create', 'pods', '--subresource=exec', '--namespace=skerry-sandboxes'), 'no');
  });
});
