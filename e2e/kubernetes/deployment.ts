/** What the tests of the server as a Pod share: an image that it can build from, how it is reached, and what it must do however it was installed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'yaml';
import { run } from '../../server/src/platform/command.ts';
import { pythonWith, runPython } from '../support/clients.ts';
import { runProgram } from '../support/program.ts';
import { projectRoot, startServer } from '../support/server.ts';
import { environment, findsKept, kubectl, registry } from './cluster.ts';

/** A directory of the node, for the server's volume. */
const { SKERRY_TEST_VOLUME: volume = '' } = process.env;

/** Beside what docs/kubernetes.md has an operator write, for this cluster, whose registry has no TLS. */
export const settings: Readonly<Record<string, string>> = {
  SKERRY_INSECURE_REGISTRIES: registry,
  SKERRY_REGISTRY_MIRRORS: `${registry}=${registry}`,
  SKERRY_WARM_POOL: '1',
};

/** What docs/kubernetes.md has an operator give the chart, for this cluster. */
export async function values(): Promise<{ image: string; settings: Record<string, string> }> {
  const page = await readFile(join(projectRoot, 'docs/kubernetes.md'), 'utf8');
  const [, example = ''] = /```yaml\n(image:[^`]*)```/.exec(page) ?? [];
  const given = parse(example.replaceAll('registry.example', registry));
  return { image: given.image.replace(/:[0-9.]+$/, ':test'), settings: { ...given.settings, ...settings } };
}

/**
 * The cluster has no class of volumes.
 * @param name of the volume, as each is the server's that had it first. @param claim whose it is. @param mode how many nodes may write to it
 */
export const persistentVolume = (name: string, claim = 'data-skerry-0', mode = 'ReadWriteOnce'): string => `
apiVersion: v1
kind: PersistentVolume
metadata: {name: ${name}}
spec:
  capacity: {storage: 50Gi}
  accessModes: [${mode}]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: skerry, name: ${claim}}
  hostPath: {path: ${volume}/${name}, type: DirectoryOrCreate}
  # As of a disk of that machine.
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1]}]}]}}
`;

/** Sends an image of a server of this machine, which can make it without a registry, to where the one in the cluster finds it. */
export async function pushBase(): Promise<void> {
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

/** A port of this machine that leads to a server, as `kubectl port-forward` makes one. @param pod the server's */
async function forward(pod: string): Promise<{ readonly port: string; close(): void }> {
  const child = spawn('kubectl', ['--namespace', 'skerry', 'port-forward', `pod/${pod}`, ':7423'], {
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

export const untilReady = () =>
  kubectl('--namespace', 'skerry', 'rollout', 'status', 'statefulset/skerry', '--timeout=280s');

/** What the `skerry` command of a server's Pod prints. */
export const skerry = (pod: string, ...words: string[]): Promise<string> =>
  kubectl('--namespace', 'skerry', 'exec', pod, '--', 'skerry', ...words);

/** Runs a program with the official client through a server's Pod. @param use is given the command and its environment */
export async function withPython<T>(
  program: string,
  pod: string,
  use: (command: readonly [string, ...string[]], env: Record<string, string>) => Promise<T>,
): Promise<T> {
  const variables = JSON.parse(await skerry(pod, 'env', '--format', 'json')) as Record<string, string>; // of our own command
  const way = await forward(pod);
  try {
    const env = { ...environment, ...variables, MODAL_SERVER_URL: `http://127.0.0.1:${way.port}` };
    return await use([pythonWith(), '-c', `${prelude}\n${program}`], env);
  } finally {
    way.close();
  }
}

/** @returns what a program with the official client prints */
export const python = (program: string, pod = 'skerry-0'): Promise<string> =>
  withPython(program, pod, async (command, env) => {
    const { code, stdout, stderr } = await runProgram(command, { env });
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    return stdout.trim();
  });

export async function buildsAndRuns(): Promise<void> {
  const out = await python(`
sb = modal.Sandbox.create(app=app, image=image)
print(sb.exec("cat", "/built").stdout.read())
sb.terminate()
`);
  assert.equal(out, 'built');
}

/** @param replace has another Pod of the server come; it need not wait for that */
export async function goesOnWhile(replace: () => Promise<unknown>): Promise<void> {
  const id = await python(`
import io
volume = modal.Volume.from_name("goes-on", create_if_missing=True)
with volume.batch_upload(force=True) as batch: batch.put_file(io.BytesIO(b"given"), "given")
sb = modal.Sandbox.create(app=app, image=image, volumes={"/data": volume})
sb.exec("sh", "-c", "echo kept > /tmp/kept; cp /data/given /data/before").wait()
print(sb.object_id)
`);
  await replace();
  await untilReady();
  const out = await python(`
volume = modal.Volume.from_name("goes-on")
sb = modal.Sandbox.from_id("${id}")
sb.exec("sh", "-c", "rm /data/given; echo after > /data/after").wait()
print([entry.path for entry in volume.listdir("/")])
sb.exec("sh", "-c", "echo last > /data/last").wait()
${findsKept(id)}
sb.wait(raise_on_termination=False)
print([entry.path for entry in volume.listdir("/")], b"".join(volume.read_file("before")))
`);
  assert.equal(out, "['after', 'before']\nkept\n\n['after', 'before', 'last'] b'given'");
}

export async function mayDoNoMoreThanItNeeds(): Promise<void> {
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
}
