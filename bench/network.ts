/**
 * `npm run bench:network [-- --rounds N] [--runtime runc|gvisor]`: what a sandbox's network costs, beside Docker's bridge and published port in the same run. Another machine is played by a
 * network namespace, to which this one and one with a Docker daemon have a cable each. The contenders take turns. Prints the tables and writes them to `results/`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { App, Image, ModalClient, Sandbox } from 'modal';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { createOutside } from '../server/src/engines/testing/outside.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { run } from '../server/src/platform/command.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { makeAuthority, makeServerCertificate } from '../server/src/transport/issue-certificate.ts';
import { startDocker } from './docker-contender.ts';
import { describeMachine } from './machine.ts';
import { modalClient } from './modal-client.ts';
import { notMeasured, publish, say, today, wholeNumber } from './page.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

/** Runs the program of `network-peer.ts` with these words somewhere, and gives the milliseconds it says. */
type Peer = (...words: readonly string[]) => Promise<number>;

/** Who connects out, and where the other machine is for it. */
interface Outbound {
  readonly name: string;
  readonly peer: Peer;
  readonly address: string;
}

/** Where a server in a sandbox is reached. */
interface Inbound {
  readonly name: string;
  /** Gives the URL of a path. */
  readonly url: (path: string) => string;
  /** Whose certificates are believed. */
  readonly authority?: string;
}

const NAME = 'bench.example.org';
const PORT = 8080;
const PEER = join(import.meta.dirname, 'network-peer.ts');
const [NODE_INSIDE, PEER_INSIDE, CA_INSIDE] = ['/bench-node', '/bench-peer.mts', '/bench-ca.pem'] as const;
const BASELINE = 'docker';
const LONG_MS = 600_000;
const DAY_MS = 86_400_000;
/** Of Docker's machine and, one further, of the other one on that cable (RFC 5737: nobody's). */
const [DOCKER_ADDRESS, OUTSIDE_OF_DOCKER] = ['192.0.2.241', '192.0.2.242'] as const;

const HELP = `npm run bench:network [-- --rounds N] [--runtime runc|gvisor]

  --rounds N     how often each is timed, 1 to 100; 5 by default. One more round warms up
  --runtime NAME one runtime alone; both by default

Takes root, and a Debian mirror within reach, from which Docker's image and the sandboxes' are made. Docker takes
part where its daemon is installed (Debian's docker.io). What cannot take part is named in the page, which is printed
and written to bench/results/, in the place of that day's. The other machine is a network namespace: nothing else of a
network is needed.
`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    runtime: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit();
}
const rounds = wholeNumber('rounds', values.rounds, 100);

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-network-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
const absent: string[] = [];
const outbound: Outbound[] = [];
const inbound: Inbound[] = [];

say('preparing the other machine');
const label = `b${process.pid}`;
const outside = await createOutside(label);
cleanup.add('other machine', () => outside[Symbol.asyncDispose]());
const outsideNamespace = `skerry-out-${label}`;
const near = outside.publicAddress.replace(/\d+$/, (last) => String(Number(last) - 1));
const certificates = await makeCertificates();
await serveOutside();

await enter(BASELINE, addDocker);
const wanted = (await runtimesToTest()).filter(
  ({ runtime }) => values.runtime === undefined || runtime === values.runtime,
);
for (const { runtime, skip } of wanted) {
  if (skip !== false) absent.push(`skerry (${runtime}): ${skip}`);
  else await enter(`skerry (${runtime})`, () => addSkerry(runtime));
}

const samples = new Map<string, number[]>();
const measures = [...outboundMeasures(), ...inboundMeasures()];
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  for (const { title, contenders } of measures) {
    for (const [name, once] of contenders) {
      const took = await once();
      const id = `${title} ${name}`;
      if (round > 0) samples.set(id, [...(samples.get(id) ?? []), took]);
    }
  }
}
publish('network', await report());

interface Measure {
  readonly title: string;
  readonly contenders: ReadonlyMap<string, () => Promise<number>>;
}

function outboundMeasures(): Measure[] {
  const url = (path: string) => `https://${NAME}${path}`;
  const measure = (title: string, words: (address: string) => readonly string[]): Measure => ({
    title: `Out: ${title}`,
    contenders: new Map(
      outbound.map(({ name, peer, address }) => [name, () => peer(...words(address))] as const),
    ),
  });
  return [
    measure('500 requests on one connection', (address) => ['requests', '500', 'kept', url('/'), address]),
    measure('100 requests on connections of their own', (address) => [
      ...['requests', '100', 'new', url('/')],
      address,
    ]),
    measure('a download of 256 MiB', (address) => ['download', url('/large'), address]),
  ];
}

function inboundMeasures(): Measure[] {
  const measure = (title: string, words: (url: Inbound['url']) => readonly string[]): Measure => ({
    title: `In: ${title}`,
    contenders: new Map(
      inbound.map(({ name, url, authority }) => [name, () => fromOutside(authority, words(url))] as const),
    ),
  });
  return [
    measure('1000 requests on one connection', (url) => ['requests', '1000', 'kept', url('/')]),
    measure('200 requests on connections of their own', (url) => ['requests', '200', 'new', url('/')]),
    measure('a download of 256 MiB', (url) => ['download', url('/large')]),
    measure('1000 messages of a websocket there and back', (url) => [
      'websocket',
      '1000',
      url('/').replace(/^http/, 'ws'),
    ]),
  ];
}

/** On the other machine. */
async function fromOutside(authority: string | undefined, words: readonly string[]): Promise<number> {
  const argv = ['ip', 'netns', 'exec', outsideNamespace, process.execPath, PEER, ...words] as const;
  const { PATH = '' } = process.env;
  const env = { PATH, ...(authority !== undefined && { NODE_EXTRA_CA_CERTS: authority }) };
  return Number((await run(argv, { env, timeoutMs: LONG_MS })).stdout);
}

async function makeCertificates() {
  const validity = { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };
  const authority = await makeAuthority('bench', validity, undefined);
  const pair = await makeServerCertificate(authority, [NAME], validity, undefined);
  const paths = {
    ca: join(scratch, 'ca.pem'),
    key: join(scratch, 'key.pem'),
    cert: join(scratch, 'cert.pem'),
  };
  writeFileSync(paths.ca, authority.cert);
  writeFileSync(paths.key, pair.key);
  writeFileSync(paths.cert, pair.cert);
  return paths;
}

async function serveOutside(): Promise<void> {
  const { key, cert } = certificates;
  const argv = ['netns', 'exec', outsideNamespace, process.execPath, PEER, 'serve', '443', key, cert];
  const server: ChildProcess = spawn('ip', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanup.add('server of the other machine', async () => {
    const exit = once(server, 'exit');
    if (server.exitCode === null && server.kill('SIGKILL')) await exit;
  });
  if (server.stdout) await once(server.stdout, 'data');
}

async function addDocker(): Promise<void> {
  const namespace = `bench-docker-${process.pid}`;
  await run(['ip', 'netns', 'add', namespace]);
  cleanup.add('network of docker', () => run(['ip', 'netns', 'delete', namespace]));
  const device = `d-${label}`;
  const lines = [
    `link add ${device} netns ${namespace} type veth peer name docker netns ${outsideNamespace}`,
    `-n ${namespace} link set lo up`,
    `-n ${namespace} addr add ${DOCKER_ADDRESS}/30 dev ${device}`,
    `-n ${namespace} link set ${device} up`,
    `-n ${namespace} route add default via ${OUTSIDE_OF_DOCKER}`,
    `-n ${outsideNamespace} addr add ${OUTSIDE_OF_DOCKER}/30 dev docker`,
    `-n ${outsideNamespace} link set docker up`,
  ];
  for (const line of lines) await run(['ip', ...line.split(' ')]);
  const { tar } = await makeRootFilesystem(scratch);
  const docker = await startDocker({ tar, scratch, bridgeIn: namespace });
  cleanup.add('docker', () => docker.close());
  const mounted = [
    [process.execPath, NODE_INSIDE],
    [PEER, PEER_INSIDE],
    [certificates.ca, CA_INSIDE],
  ].flatMap(([from, to]) => ['--volume', `${from}:${to}:ro`]);
  const server = [NODE_INSIDE, PEER_INSIDE, 'serve', String(PORT)];
  const options = ['--detach', '--name', 'network', '--publish', `${PORT}:${PORT}`, ...mounted];
  await run(
    docker.command('run', ...options, '--env', `NODE_EXTRA_CA_CERTS=${CA_INSIDE}`, 'bench', ...server),
  );
  cleanup.add('container', () => run(docker.command('rm', '--force', 'network')));
  const peer: Peer = async (...words) => {
    const argv = docker.command('exec', 'network', NODE_INSIDE, PEER_INSIDE, ...words);
    return Number((await run(argv, { timeoutMs: LONG_MS })).stdout);
  };
  outbound.push({ name: BASELINE, peer, address: OUTSIDE_OF_DOCKER });
  inbound.push({ name: BASELINE, url: (path) => `http://${DOCKER_ADDRESS}:${PORT}${path}` });
}

async function addSkerry(runtime: 'runc' | 'gvisor'): Promise<void> {
  const flags = ['--log-level', 'warn', '--nameservers', outside.publicAddress, '--tunnel-host', near];
  const server = await startServer({ runtime, freshData: wanted.length > 1, flags });
  cleanup.add(`skerry (${runtime})`, () => server.stop());
  const client = modalClient(server);
  cleanup.add('client', () => client.close());
  const app = await client.apps.fromName('bench-network', { createIfMissing: true });
  const image = client.images.fromRegistry('debian:bookworm-slim');
  const open = await withPeer(client, app, image, { unencryptedPorts: [PORT] });
  const named = await withPeer(client, app, image, { outboundDomainAllowlist: [NAME] });
  for (const [name, sandbox] of [
    ['', open],
    [', by domains', named],
  ] as const) {
    const peer = inside(sandbox);
    outbound.push({ name: `skerry (${runtime})${name}`, peer, address: outside.publicAddress });
  }
  const serving = await open.exec([NODE_INSIDE, PEER_INSIDE, 'serve', String(PORT)]);
  await serving.stdout.getReader().read();
  const tunnel = (await open.tunnels())[PORT];
  if (!tunnel) throw new Error('no tunnel');
  const { url, token } = await open.createConnectToken({ port: PORT });
  const authority = join(server.dataDir, 'tls', 'ca.pem');
  inbound.push(
    {
      name: `skerry (${runtime}), tunnel`,
      url: (path) => `http://${tunnel.unencryptedHost}:${tunnel.unencryptedPort}${path}`,
    },
    {
      name: `skerry (${runtime}), tunnel with TLS`,
      url: (path) => `https://${tunnel.host}:${tunnel.port}${path}`,
      authority,
    },
    {
      name: `skerry (${runtime}), connect token`,
      url: (path) => `${url}${path}?_modal_connect_token=${token}`,
      authority,
    },
  );
}

async function withPeer(
  client: ModalClient,
  app: App,
  image: Image,
  options: { readonly unencryptedPorts?: number[]; readonly outboundDomainAllowlist?: string[] },
): Promise<Sandbox> {
  const sandbox = await client.sandboxes.create(app, image, { timeoutMs: DAY_MS, ...options });
  for (const [from, to] of [
    [process.execPath, NODE_INSIDE],
    [PEER, PEER_INSIDE],
    [certificates.ca, CA_INSIDE],
  ] as const) {
    await sandbox.filesystem.copyFromLocal(from, to);
  }
  await (await sandbox.exec(['chmod', '755', NODE_INSIDE])).wait();
  return sandbox;
}

function inside(sandbox: Sandbox): Peer {
  return async (...words) => {
    const process = await sandbox.exec([NODE_INSIDE, PEER_INSIDE, ...words], {
      env: { NODE_EXTRA_CA_CERTS: CA_INSIDE },
    });
    const [printed, failed, code] = await Promise.all([
      process.stdout.readText(),
      process.stderr.readText(),
      process.wait(),
    ]);
    if (code !== 0) throw new Error(`${words.join(' ')}: ${failed}`);
    return Number(printed);
  };
}

/** What cannot take part is named with the reason. */
async function enter(name: string, make: () => Promise<void>): Promise<void> {
  say(`preparing ${name}`);
  try {
    await make();
  } catch (error) {
    absent.push(`${name}: ${error instanceof Error ? error.message : error}`);
  }
}

async function report(): Promise<string> {
  const sections = measures.flatMap(({ title, contenders }) => {
    const rows = [...contenders.keys()].map((name) => ({
      name,
      summary: summarize(samples.get(`${title} ${name}`) ?? []),
    }));
    return [`## ${title}`, '', ...table(rows, [BASELINE]), ''];
  });
  return [
    "# The network of a sandbox, beside Docker's bridge and published port",
    '',
    `Made by \`npm run bench:network -- --rounds ${rounds}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'The other machine is a network namespace, one cable away from Skerry and from Docker, whose daemon is in a namespace of its own. The same program of Node.js is client and server',
    'everywhere. Out: HTTPS from the sandbox, through the translation of addresses or through the proxy of sandboxes that may reach domains. In: HTTP to a server in the sandbox,',
    'through a published port, a tunnel, or with a connect token. Milliseconds of all requests together; ratios are of medians; one warm-up round is not counted.',
    '',
    ...sections,
    ...notMeasured(absent),
  ].join('\n');
}
