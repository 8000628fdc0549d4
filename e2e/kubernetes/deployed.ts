/** The server as a Pod of a real cluster, by the manifests of `deploy/kubernetes`: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { servePublicly } from '../../server/src/engines/kubernetes/testing/public-server.ts';
import { projectRoot } from '../support/server.ts';
import { kubectl, registry } from './cluster.ts';
import {
  buildsAndRuns,
  goesOnWhile,
  mayDoNoMoreThanItNeeds,
  persistentVolume,
  pushBase,
  python,
  settings,
  untilReady,
} from './deployment.ts';

/** What `docs/kubernetes.md` has an operator write, for this cluster. */
async function kustomization(directory: string): Promise<string> {
  const page = await readFile(join(projectRoot, 'docs/kubernetes.md'), 'utf8');
  const [, example = ''] = /```yaml\n(resources:[^`]*)```/.exec(page) ?? [];
  return example
    .replace(
      'skerry/deploy/kubernetes',
      `${relative(directory, join(projectRoot, 'deploy/kubernetes'))}, volume.yaml`,
    )
    .replaceAll('registry.example', registry)
    .replace(/newTag: [0-9.]+/, 'newTag: test')
    .replace(
      /^( +- )SKERRY_REGISTRY=/m,
      (line, indent) =>
        Object.entries(settings)
          .map(([name, value]) => `${indent}${name}=${value}\n`)
          .join('') + line,
    );
}

describe('the server as a Pod', () => {
  let directory: string;
  before(async () => {
    await pushBase();
    directory = await mkdtemp(join(tmpdir(), 'skerry-deployed-'));
    await writeFile(join(directory, 'kustomization.yaml'), await kustomization(directory));
    await writeFile(join(directory, 'volume.yaml'), persistentVolume('by-manifests'));
    await kubectl('apply', '--kustomize', directory);
    await untilReady();
  });
  after(async () => {
    await kubectl('delete', '--kustomize', directory, '--ignore-not-found');
    await rm(directory, { recursive: true, force: true });
  });

  test('builds an image, and runs a sandbox of it in the other namespace', buildsAndRuns);

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

  test('is replaced while a sandbox goes on', () =>
    goesOnWhile(() => kubectl('--namespace', 'skerry', 'rollout', 'restart', 'statefulset/skerry')));

  test('may do no more than it needs', mayDoNoMoreThanItNeeds);
});
