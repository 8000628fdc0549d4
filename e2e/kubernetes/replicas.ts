/** Two servers as Pods of a real cluster, by the chart, over one database and one volume: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { stringify } from 'yaml';
import { run } from '../../server/src/platform/command.ts';
import { delay, withDeadline } from '../../server/src/platform/wait.ts';
import { noPostgres, PASSWORD, TestPostgres, USER } from '../../server/src/store/testing/postgres.ts';
import { projectRoot } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { environment, kubectl, printTimes, registry } from './cluster.ts';
import { persistentVolume, pushBase, python, skerry, untilReady, values, withPython } from './deployment.ts';

const [MACHINE = ''] = registry.split(':');
const CHART = join(projectRoot, 'deploy/kubernetes');
const PODS = ['skerry-0', 'skerry-1'];
const CLAIM = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: skerry-shared, namespace: skerry}
spec:
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 50Gi}}
  volumeName: shared
  storageClassName: ""
`;

/** Kept by several servers, and what they say while one is lost. */
const WORK = `
import json
sandboxes = [modal.Sandbox.create("sh", "-c", "echo begun; sleep 3600", app=app, image=image) for _ in range(4)]
programs = [sandbox.exec("sh", "-c", "while read line; do echo $line; done; exit 7") for sandbox in sandboxes]
streams = [iter(program.stdout) for program in programs]
def echo(word):
    for program, stream in zip(programs, streams):
        program.stdin.write(word + "\\n"); program.stdin.drain()
        assert next(stream) == word + "\\n"
for sandbox in sandboxes: sandbox.filesystem.write_text("kept", "/tmp/kept")
echo("before")
print(json.dumps([sandbox.object_id for sandbox in sandboxes]), flush=True)
assert input() == "one is lost"
echo("after")
another = modal.Sandbox.create("cat", "/built", app=app, image=image)
assert another.stdout.read() == "built\\n"; another.wait(); assert another.returncode == 0
for program in programs:
    program.stdin.write_eof(); program.stdin.drain()
    assert program.wait() == 7
print("all go on", flush=True)
`;

interface Member {
  readonly place: string;
  readonly leads: boolean;
  readonly lives: boolean;
  readonly sandboxes: number;
}

async function apply(directory: string, text: string): Promise<void> {
  const file = join(directory, 'object.yaml');
  await writeFile(file, text);
  await kubectl('apply', '--filename', file);
}

describe('two servers as Pods', { skip: noPostgres }, () => {
  let directory: string;
  let postgres: TestPostgres;
  before(async () => {
    await pushBase();
    directory = await mkdtemp(join(tmpdir(), 'skerry-replicas-'));
    postgres = await TestPostgres.start({
      settings: [`listen_addresses=${MACHINE}`],
      access: ['host all all all scram-sha-256'],
    });
    postgres.createDatabase('skerry');
    const url = `postgres://${USER}:${PASSWORD}@${MACHINE}/skerry?sslmode=disable`;
    await kubectl('create', 'namespace', 'skerry');
    await kubectl('--namespace', 'skerry', 'create', 'secret', 'generic', 'db', `--from-literal=url=${url}`);
    await apply(directory, `${persistentVolume('shared', 'skerry-shared', 'ReadWriteMany')}\n---\n${CLAIM}`);
    const file = join(directory, 'values.yaml');
    const several = { replicas: 2, database: { secret: 'db' }, storage: { claim: 'skerry-shared' } };
    await writeFile(file, stringify({ ...(await values()), ...several }));
    await run(['helm', 'install', 'skerry', CHART, '--namespace', 'skerry', '--values', file], {
      env: environment,
      timeoutMs: 300_000,
    });
    await untilReady();
  });
  after(async () => {
    await run(['helm', 'uninstall', 'skerry', '--namespace', 'skerry', '--wait'], {
      env: environment,
      okCodes: [1],
      timeoutMs: 300_000,
    });
    await kubectl('delete', 'namespace', 'skerry', '--ignore-not-found');
    await kubectl('delete', 'persistentvolume', 'shared', '--ignore-not-found');
    await postgres?.stop();
    if (directory) await rm(directory, { recursive: true, force: true });
  });

  const membersAt = async (pod: string): Promise<readonly Member[]> =>
    (JSON.parse(await skerry(pod, 'status', '--json')) as { servers: readonly Member[] | null }).servers ??
    []; // of our own command
  /** Of Pods, by their addresses. */
  const addressOf = (pod: string) =>
    kubectl('--namespace', 'skerry', 'get', 'pod', pod, '--output', 'jsonpath={.status.podIP}');
  async function roles(): Promise<{ readonly leader: string; readonly other: string }> {
    const leading = (await membersAt(PODS[0] ?? '')).find(({ leads }) => leads)?.place ?? '';
    const [first = ''] = PODS;
    const leads = leading.includes(await addressOf(first));
    return leads ? { leader: first, other: PODS[1] ?? '' } : { leader: PODS[1] ?? '', other: first };
  }
  async function untilBothServe(): Promise<readonly Member[]> {
    await untilReady();
    const signal = AbortSignal.timeout(patient(120_000));
    for (;;) {
      const members = await membersAt(PODS[0] ?? '').catch(() => []);
      if (members.filter(({ lives }) => lives).length === 2 && members.length === 2) return members;
      await delay(500, signal);
    }
  }

  let kept: readonly string[] = [];

  test('share the work, and any of them answers', async () => {
    const members = await untilBothServe();
    assert.deepEqual(
      members.map(({ leads }) => leads),
      [true, false],
    );
    for (const pod of PODS) {
      const out = await python(
        'sb = modal.Sandbox.create("cat", "/built", app=app, image=image); print(sb.stdout.read())',
        pod,
      );
      assert.equal(out, 'built');
    }
  });

  test('go on when the one that leads is lost', async () => {
    const { leader, other } = await roles();
    await withPython(WORK, other, async ([command, ...args], env) => {
      const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
      let errors = '';
      child.stderr.on('data', (chunk) => {
        errors += chunk;
      });
      try {
        const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
        const next = async () => {
          const line = await withDeadline(lines.next(), patient(180_000));
          assert.ok(line && !line.done, errors);
          return line.value;
        };
        kept = JSON.parse(await next()) as string[]; // of the program above
        const keeps = (await membersAt(other)).find(({ leads }) => !leads)?.sandboxes ?? 0;
        assert.ok(keeps > 0, 'one that does not lead keeps some');
        const begin = performance.now();
        await kubectl('--namespace', 'skerry', 'delete', 'pod', leader, '--force', '--grace-period=0');
        child.stdin.write('one is lost\n');
        assert.equal(await next(), 'all go on');
        printTimes({
          'the leading of two servers is lost as a Pod, until all goes on': [
            (performance.now() - begin) / 1000,
          ],
        });
      } finally {
        child.kill('SIGKILL');
      }
    });
    const members = await untilBothServe();
    assert.equal(members.length, 2);
    assert.equal((await roles()).leader, other, 'the one that was left leads');
  });

  test('are replaced one after the other while sandboxes go on', async () => {
    await kubectl('--namespace', 'skerry', 'rollout', 'restart', 'statefulset/skerry');
    await untilBothServe();
    for (const [index, id] of kept.entries()) {
      const out = await python(
        `sb = modal.Sandbox.from_id("${id}"); print(sb.filesystem.read_text("/tmp/kept")); sb.terminate()`,
        PODS[index % PODS.length],
      );
      assert.equal(out, 'kept');
    }
  });
});
