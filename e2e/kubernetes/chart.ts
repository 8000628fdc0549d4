/** The chart of `deploy/kubernetes` makes what the manifests beside it make: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseAllDocuments, stringify } from 'yaml';
import { run } from '../../server/src/platform/command.ts';
import { projectRoot } from '../support/server.ts';
import { environment, kubectl } from './cluster.ts';
import { values } from './deployment.ts';

const CHART = join(projectRoot, 'deploy/kubernetes');

interface KubernetesObject {
  readonly kind: string;
  readonly metadata: { name: string; readonly namespace?: string };
  readonly spec?: {
    readonly replicas?: number;
    readonly volumeClaimTemplates?: unknown;
    readonly template?: {
      readonly metadata: { annotations?: unknown };
      readonly spec: {
        readonly containers: readonly { readonly env?: unknown }[];
        readonly volumes: readonly {
          readonly name: string;
          readonly projected?: unknown;
          readonly persistentVolumeClaim?: unknown;
        }[];
      };
    };
  };
}

const helm = async (...words: string[]): Promise<string> =>
  (await run(['helm', ...words], { env: environment, timeoutMs: 300_000 })).stdout;

const objects = (text: string): KubernetesObject[] =>
  parseAllDocuments(text)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((object) => object !== null);

describe('the chart', () => {
  let directory: string;
  let file: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-chart-'));
    file = join(directory, 'values.yaml');
    await writeFile(file, stringify(await values()));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  test('makes what the manifests make', async () => {
    const plain = await kubectl('kustomize', CHART);
    // The name of the settings is made of them there; the namespace of the release is there before it.
    const [generated = ''] = /\bskerry-[a-z0-9]{10}$/m.exec(plain) ?? [];
    const expected = objects(plain.replaceAll(generated, 'skerry')).filter(
      ({ kind, metadata }) => kind !== 'Namespace' || metadata.name !== 'skerry',
    );
    const words = ['--set', 'image=skerry,settings.SKERRY_REGISTRY=registry.example/skerry/sandboxes'];
    const charted = objects(await helm('template', 'skerry', CHART, '--namespace', 'skerry', ...words));
    for (const { spec } of charted) delete spec?.template?.metadata.annotations;
    const sorted = (all: readonly KubernetesObject[]) =>
      all.toSorted((a, b) => nameOf(a).localeCompare(nameOf(b)));
    assert.deepEqual(sorted(charted), sorted(expected));
  });

  test('takes the URL of a database from a Secret that is named, which must be there then', async () => {
    const given =
      'database.secret=db-app,database.key=uri,database.caSecret=db-ca,settings.PGSSLMODE=verify-full';
    const words = ['--namespace', 'skerry', '--values', file, '--set', given];
    const made = objects(await helm('template', 'skerry', CHART, ...words));
    const spec = made.find(({ kind }) => kind === 'StatefulSet')?.spec?.template?.spec;
    assert.deepEqual(spec?.containers[0]?.env, [
      {
        name: 'SKERRY_DATABASE_URL',
        valueFrom: { secretKeyRef: { name: 'db-app', key: 'uri' } },
      },
    ]);
    const mounted = spec?.volumes.find(({ name }) => name === 'database')?.projected;
    assert.deepEqual(mounted, {
      defaultMode: 0o400, // the server refuses keys that others may read
      sources: [
        { secret: { name: 'db-app' } },
        { secret: { name: 'db-ca', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      ],
    });
  });

  test('has several servers share a database and a volume, and insists on both', async () => {
    const make = (...set: string[]) =>
      helm(...['template', 'skerry', CHART, '--namespace', 'skerry', '--values', file, '--set'], set.join());
    const made = objects(await make('replicas=2', 'database.secret=db', 'storage.claim=shared'));
    const spec = made.find(({ kind }) => kind === 'StatefulSet')?.spec;
    assert.equal(spec?.replicas, 2);
    assert.equal(spec?.volumeClaimTemplates, undefined);
    const { containers, volumes } = spec?.template?.spec ?? { containers: [], volumes: [] };
    const address = { name: 'SKERRY_PEER_HOST', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } };
    assert.deepEqual([containers[0]?.env].flat().at(-1), address);
    assert.deepEqual(volumes.find(({ name }) => name === 'data')?.persistentVolumeClaim, {
      claimName: 'shared',
    });
    await assert.rejects(make('replicas=2', 'storage.claim=shared'), /share a database/);
    await assert.rejects(make('replicas=2', 'database.secret=db'), /share a volume/);
    await assert.rejects(make('replicas=0'));
  });

  test('refuses what it does not know', async () => {
    for (const wrong of ['settings.OTHER=x', 'database.url=postgres://x', 'other=x', 'image='])
      await assert.rejects(
        helm('template', 'skerry', CHART, '--namespace', 'skerry', '--values', file, '--set', wrong),
      );
    await assert.rejects(helm('template', 'skerry', CHART, '--namespace', 'other', '--values', file));
    assert.match(await helm('lint', CHART, '--namespace', 'skerry', '--values', file), /0 chart\(s\) failed/);
  });
});

const nameOf = ({ kind, metadata: { name, namespace = '' } }: KubernetesObject) =>
  `${kind} ${namespace}/${name}`;
