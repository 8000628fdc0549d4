/**
 * `npm run test:kubernetes`: sandboxes as Pods of a real cluster, which it builds once (minutes of all processors) and starts on this machine: the conformance
 * suite of engines, the official Python client with its example, the server as a Pod by manifests and by a chart, two nodes of which one is lost. `npm test` has a cluster that is none. Prints
 * tables for docs/kubernetes.md. Words after `--` choose suites that have one of them in their names.
 */
import { existsSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { capture } from './lib/command.mjs';
import { ensureGo } from './lib/go.mjs';
import { findRunsc, pinned } from './lib/gvisor.mjs';
import { cacheDir, node, root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { ensurePackages, testPackages } from './lib/system-packages.mjs';
import { SLOWNESS } from './lib/test-runner.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

const TIMEOUT_MS = 900_000 * SLOWNESS;
const conformance = 'server/src/engines/kubernetes/testing/cluster-conformance.ts';
const network = 'server/src/engines/kubernetes/testing/cluster-network.ts';
const domains = 'server/src/engines/kubernetes/testing/cluster-domains.ts';
const volumes = 'e2e/kubernetes/volumes.ts';
const inGvisor = { SKERRY_TEST_RUNTIME_CLASS: 'gvisor' };
const SUITES = [
  ['conformance of engines, runc', conformance],
  ['several engines, runc', 'server/src/engines/kubernetes/testing/cluster-several.ts'],
  ['a Pod that its node cannot start', 'server/src/engines/kubernetes/testing/cluster-late.ts'],
  ['network policies, runc', network],
  ['domains, runc', domains],
  ['the official Python client, runc', 'e2e/kubernetes/sandboxes.ts'],
  ['volumes, runc', volumes],
  ['several servers, runc', 'e2e/kubernetes/several.ts'],
  ['the server as a Pod', 'e2e/kubernetes/deployed.ts'],
  ['the chart', 'e2e/kubernetes/chart.ts'],
  ['two servers, each as a Pod', 'e2e/kubernetes/replicas.ts'],
];
/** After the others, as they lose a node. */
const LAST_SUITES = [
  ['gpus of device plugins, runc', 'e2e/kubernetes/gpus.ts'],
  ['two nodes of which one is lost, runc', 'e2e/kubernetes/nodes.ts'],
  ['a node is lost under volumes, runc', 'e2e/kubernetes/lost-volumes.ts'],
  ['200 sandboxes on two nodes, runc', 'e2e/kubernetes/many.ts'],
  ['the walk, with the server as a Pod', 'e2e/kubernetes/walk.ts'],
];
const GVISOR_SUITES = [
  ['conformance of engines, gVisor', conformance, inGvisor],
  ['network policies, gVisor', network, inGvisor],
  ['domains, gVisor', domains, inGvisor],
  ['volumes, gVisor', volumes, inGvisor],
];
const packages = [
  { name: 'containernetworking-plugins', file: '/usr/lib/cni/bridge', purpose: 'the network of Pods' },
  { name: 'iptables', command: 'iptables', purpose: 'the network of Pods' },
  { name: 'ipset', command: 'ipset', purpose: 'network policies of Pods' },
];

await runMain(async () => {
  if (process.getuid?.() !== 0) throw new SetupError('A cluster needs root.');
  await setup();
  await setupPythonClients(pythonClientVersions);
  await step('Packages for tests', (progress) => ensurePackages([...testPackages, ...packages], progress));
  const directory = join(cacheDir(), 'kubernetes');
  const bin = process.env.SKERRY_KUBERNETES_BIN || join(directory, 'bin');
  await step('Kubernetes', (progress) => build(directory, bin, progress));
  const runsc = await findRunsc();
  const env = { ...process.env, BIN: bin, STATE: join(directory, 'state'), RUNSC: runsc ?? '' };
  const words = process.argv.slice(2);
  const suites = [...SUITES, ...(runsc ? GVISOR_SUITES : []), ...LAST_SUITES].filter(
    ([name]) => words.length === 0 || words.some((word) => name.includes(word)),
  );
  if (suites.length === 0) throw new SetupError(`No suite has ${words.join(' or ')} in its name.`);
  const cluster = (word, progress) =>
    capture([join(root, 'scripts/kubernetes/cluster.sh'), word], { env, progress });
  try {
    const said = await step('Cluster', async (progress) => ({ lines: await cluster('up', progress) }));
    const value = (name) => new RegExp(`^${name}=(.*)$`, 'm').exec(said.lines)?.[1] ?? '';
    const [KUBECONFIG, REGISTRY] = [value('KUBECONFIG'), value('REGISTRY')];
    if (suites.some(([name]) => name.includes('as a Pod')))
      await step('Container image', async (progress) => {
        const image = [
          node,
          join(root, 'scripts/container-image.mjs'),
          '--push',
          `${REGISTRY}/skerry/server:test`,
        ];
        await capture([...image, '--', '--insecure-registries', REGISTRY, '--runtime', 'runc'], { progress });
      });
    const given = {
      ...{ BIN: bin, STATE: env.STATE, RUNSC: env.RUNSC },
      SKERRY_TEST_KUBECONFIG: KUBECONFIG,
      SKERRY_TEST_REGISTRY: REGISTRY,
      SKERRY_TEST_VOLUME: join(directory, 'state/run/volume'),
      SKERRY_E2E_DATA_DIR: join(directory, 'data'),
      PATH: `${bin}:${process.env.PATH}`,
    };
    const rows = [];
    for (const [name, file, more] of suites) {
      const counts = await step(name, (progress) => suite(file, { ...given, ...more }, progress));
      rows.push([name, counts]);
    }
    console.log(`Load: ${loadavg().map((load) => load.toFixed(0))}, ${availableParallelism()} processors\n`);
    console.log('| suite | passed | failed | left out |\n|---|---|---|---|');
    for (const [name, { pass, fail, skipped }] of rows)
      console.log(`| ${name} | ${pass} | ${fail} | ${skipped} |`);
    for (const [, { times }] of rows) if (times) console.log(`\n| | |\n|---|---|\n${times}`);
    return rows.some(([, { fail }]) => fail > 0) ? 1 : 0;
  } finally {
    await step('Clean up', (progress) => cluster('down', progress).then(() => undefined));
  }
});

async function build(directory, bin, progress) {
  if (existsSync(join(bin, 'helm'))) return 'up to date'; // built last
  const { go, env } = await ensureGo(pinned.go, progress);
  env.PATH = `${join(go, '..')}:${process.env.PATH}`;
  await capture([join(root, 'scripts/kubernetes/build.sh'), directory], { env, progress });
  return 'built';
}

/** Runs one file, whose failures are shown. */
async function suite(file, given, progress) {
  const output = await capture(
    [
      ...[node, `--import=${new URL('lib/test-end.mjs', import.meta.url)}`, '--test', '--test-reporter=spec'],
      ...[`--test-timeout=${TIMEOUT_MS}`, file],
    ],
    {
      ...{ cwd: root, progress, okCodes: [1] },
      env: { ...process.env, ...given },
    },
  );
  const count = (name) => Number(new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(output)?.[1] ?? Number.NaN);
  // What fails before or after all tests, as when something is left behind, is none that is counted.
  const unseen = /^✖ failing tests:$/m.test(output) ? 1 : 0;
  const fail = Math.max(count('fail') + count('cancelled'), unseen);
  const counts = { pass: count('pass'), fail, skipped: count('skipped') };
  if (counts.fail !== 0) console.error(output);
  return { ...counts, times: [...new Set(output.match(/^\| .* s \|$/gm) ?? [])].join('\n') };
}
