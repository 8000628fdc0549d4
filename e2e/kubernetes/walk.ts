/** docs/kubernetes-walk.md, line by line, on a real cluster of which it loses a node: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { stringify } from 'yaml';
import { runProgram } from '../support/program.ts';
import { projectRoot } from '../support/server.ts';
import { cluster, environment, kubectl, registry } from './cluster.ts';
import { mayDoNoMoreThanItNeeds, persistentVolume, pushBase, values } from './deployment.ts';

/** What happens outside of the operator's terminal. */
const happenings: Readonly<Record<string, () => Promise<void>>> = {
  'a machine joins the cluster': () => cluster('add', '2'),
  'that machine loses its power': () => cluster('lose', '2'),
};

/** The image of the server under a further tag. */
async function tagAgain(tag: string, further: string): Promise<void> {
  const at = (name: string) => `http://${registry}/v2/skerry/server/manifests/${name}`;
  const accept = 'application/vnd.oci.image.manifest.v1+json';
  const found = await fetch(at(tag), { headers: { accept } });
  const type = found.headers.get('content-type') ?? accept;
  const body = await found.text();
  const put = await fetch(at(further), { method: 'PUT', headers: { 'content-type': type }, body });
  assert.equal(put.status, 201, await put.text());
}

/** What the page shows, as lines that must come in this order; there may be more between them. */
const shown = (recorded: readonly string[]) =>
  new RegExp(
    recorded
      .map((line) => line.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/ ?… ?/g, '.*'))
      .map((line) => `^${line}$`)
      .join('\\n(?:.*\\n)*'),
    'm',
  );

describe('docs/kubernetes-walk.md', () => {
  const page = readFileSync(join(projectRoot, 'docs/kubernetes-walk.md'), 'utf8');
  const blocks = [...page.matchAll(/```console\n([^`]+)```/g)].map(([, block = '']) => block);
  const steps = blocks.join('').split(/^\$ /m).slice(1);
  let directory: string;
  before(async () => {
    await pushBase();
    await tagAgain('test', '0.1.1');
    directory = await mkdtemp(join(tmpdir(), 'skerry-walk-'));
    await symlink(projectRoot, join(directory, 'skerry'));
    await writeFile(join(directory, 'values.yaml'), stringify(await values()));
    await writeFile(join(directory, 'volume.yaml'), persistentVolume('of-walk'));
    await kubectl('apply', '--filename', join(directory, 'volume.yaml'));
  });
  after(async () => {
    await kubectl('delete', 'namespace', 'skerry', 'skerry-sandboxes', '--ignore-not-found');
    await kubectl('delete', 'persistentvolume', 'of-walk', '--ignore-not-found');
    await rm(directory, { recursive: true, force: true });
  });

  for (const step of steps) {
    const [line = '', ...recorded] = step.trimEnd().split('\n');
    test(line.replace('kubectl --namespace skerry exec skerry-0 -- ', ''), async () => {
      const happening = line.startsWith('# ') ? happenings[line.slice(2)] : undefined;
      if (happening) return happening();
      if (line.startsWith('helm uninstall')) await mayDoNoMoreThanItNeeds();
      const words = ['bash', '-c', line.replaceAll('registry.example', registry)] as const;
      const { code, stdout, stderr } = await runProgram(words, {
        env: environment,
        cwd: directory,
        timeoutMs: 300_000,
      });
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      process.stdout.write(`$ ${line}\n${stdout}`);
      assert.match(stdout, shown(recorded));
    });
  }
});
