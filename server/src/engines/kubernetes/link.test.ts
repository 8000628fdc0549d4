import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { podLinkBinaryPath } from '../../agent/agent-binary.ts';
import { PodAgentClient } from '../../agent/pod-agent-client.ts';
import { run } from '../../platform/command.ts';
import { unlessAborted } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Instance } from '../engine.ts';
import { runInGuest } from '../testing/guest.ts';
import { Credentials, linkName } from './credentials.ts';
import { Link } from './link.ts';
import type { LinkCredentials } from './pod-spec.ts';

const POD = 'skerry-0123';
const HOST = '127.0.0.1';
const signal = () => AbortSignal.timeout(60_000);

/** The real agent behind the real link, which the server of these credentials speaks to. */
describe('the link of a Pod', {
  timeout: 120_000,
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, () => {
  let directory: string;
  let credentials: Credentials;
  let ofLink: LinkCredentials;
  let port: number;
  const running: ChildProcess[] = [];
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pod-link-'));
    const shown = join(directory, 'credentials');
    const seen = join(directory, 'm');
    for (const path of [shown, seen]) await mkdir(path);
    await run([podLinkBinaryPath(), 'install', seen, '0']);
    credentials = await Credentials.open(join(directory, 'server'));
    ofLink = await credentials.forLink(POD);
    for (const [name, bytes] of Object.entries(ofLink)) await writeFile(join(shown, name), bytes);
    const socket = join(seen, '.run/agent.sock');
    const link = spawn(podLinkBinaryPath(), ['serve', socket, `${HOST}:0`, shown], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    running.push(link);
    port = Number((await once(createInterface(link.stdout), 'line', { signal: signal() }))[0]);
    running.push(spawn(join(seen, '.bin/skerry-agent'), [socket], { stdio: 'ignore' }));
  });
  after(async () => {
    for (const child of running) child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  });

  const use = async (work: (link: Link) => Promise<void>, pod = POD) => {
    const link = new Link(pod, credentials.client, port);
    try {
      await work(link);
    } finally {
      link.close();
    }
  };
  const asInstance = (link: Link) => ({ dial: (abort) => link.dial(HOST, abort) }) as Instance; // no more is asked of it

  it('leads to the agent, again and again', () =>
    use(async (link) => {
      await link.awaitAgent(HOST, signal());
      const echo = (word: string) =>
        runInGuest(asInstance(link), ['/bin/sh', '-c', 'cat; exit 3'], { stdin: word });
      const answers = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(echo));
      assert.deepEqual(
        answers.map(({ stdout, code }) => [stdout, code]),
        ['a', 'b', 'c', 'd', 'e'].map((word) => [word, 3]),
      );
      const large = 'x'.repeat(1 << 20);
      assert.equal((await echo(large)).stdout, large);
    }));

  it('carries what the sandbox takes of its machine', () =>
    use(async (link) => {
      const agent = new PodAgentClient('', createLogger('silent'));
      const stats = await agent.stats((abort) => link.dial(HOST, abort), signal());
      assert.ok(stats.memoryBytes > 0 && stats.cpuUsageNs > 0);
    }));

  it('lets only root dial beside the agent', async () => {
    assert.equal((await stat(join(directory, 'm/.run'))).mode & 0o777, 0o700);
  });

  it('is taken for no other Pod', () =>
    use(async (link) => {
      await assert.rejects(link.dial(HOST, AbortSignal.timeout(300)), { name: 'TimeoutError' });
    }, 'skerry-4567'));

  it('refuses who shows nothing, and who shows what a sandbox has', async () => {
    const pem = (label: string, der: Buffer) =>
      `-----BEGIN ${label}-----\n${der.toString('base64')}\n-----END ${label}-----\n`;
    const { ca } = credentials.client;
    const ofSandbox = { cert: pem('CERTIFICATE', ofLink.certificate), key: pem('PRIVATE KEY', ofLink.key) };
    for (const shown of [{}, ofSandbox]) {
      const socket = connect({ host: HOST, port, servername: linkName(POD), ca, ...shown });
      const refused = once(socket.resume(), 'error', { signal: signal() });
      let said = '';
      socket.on('data', (chunk) => {
        said += chunk;
      });
      assert.match(String((await refused)[0]), /certificate/i);
      assert.equal(said, '');
    }
  });

  it('speaks with another server of its kind as little', async () => {
    const other = await Credentials.open(join(directory, 'other'));
    const link = new Link(POD, other.client, port);
    await assert.rejects(link.dial(HOST, AbortSignal.timeout(300)), { name: 'TimeoutError' });
    link.close();
  });

  it('tells when the way to the agent is gone, also before anybody wanted to know', () =>
    use(async (link) => {
      await link.awaitAgent(HOST, signal());
      const lost = Promise.withResolvers<void>();
      link.whenLost(lost.resolve);
      link.close();
      await unlessAborted(lost.promise, signal());
      await new Promise<void>((resolve) => link.whenLost(resolve));
    }));

  it('keeps what it is known by over a restart', async () => {
    const again = await Credentials.open(join(directory, 'server'));
    assert.deepEqual([again.serverId, again.client], [credentials.serverId, credentials.client]);
  });
});
