import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { appendFile, copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { resolverBinaryPath } from '../agent/agent-binary.ts';
import { Cleanup } from '../platform/cleanup.ts';
import { delay } from '../platform/wait.ts';
import { resolverUser } from './host-process.ts';
import { type Endpoint, resolverPid } from './resolver-process.ts';
import { askForEver } from './testing/ask-for-ever.ts';
import {
  type Harness,
  QUESTION,
  resolverHarness,
  udpClient,
  udpUpstream,
} from './testing/resolver-harness.ts';
import { killResolver, resolversOf } from './testing/resolver-place.ts';

const done = new Cleanup();
after(() => done.run());

/** The same program, of another version. */
async function otherProgram(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-other-'));
  done.add('directory', () => rm(directory, { recursive: true }));
  const program = join(directory, 'skerry-resolver');
  await copyFile(resolverBinaryPath(), program);
  await appendFile(program, 'another version');
  return program;
}

async function runningPid({ controlSocket }: Harness): Promise<number> {
  const pid = await resolverPid(controlSocket);
  return pid ?? assert.fail('none runs');
}

/** One that runs, and the server that started it. */
async function running() {
  const harness = await resolverHarness(done);
  const upstreams = [await udpUpstream(done, 'one')];
  const first = harness.hold(upstreams);
  await first.open();
  return { harness, upstreams, first, pid: await runningPid(harness) };
}

/** Asks until there is an answer. */
async function untilAnswered(at: Endpoint): Promise<void> {
  const socket = await udpClient(done);
  const answer = once(socket, 'message');
  const again = setInterval(() => socket.send(QUESTION, at.port, at.address), 20);
  await answer;
  clearInterval(again);
}

const skip = existsSync(resolverBinaryPath()) ? false : 'the resolver is not built';

describe('the process of the resolver', { skip }, () => {
  it('goes on when the server lets go of it, and is kept by the next one', async () => {
    const { harness, upstreams, first, pid } = await running();
    await first.close();
    await untilAnswered(harness.at);
    await harness.hold(upstreams).open();
    assert.equal(await runningPid(harness), pid);
  });

  it('is replaced by one of another version, or with other servers to ask, and no question is lost', async () => {
    const { harness, upstreams, first, pid } = await running();
    const asking = await askForEver(done, harness.at);
    await asking.more(20);
    await first.close();
    const second = harness.hold(upstreams, { program: await otherProgram() });
    await second.open();
    const secondPid = await runningPid(harness);
    assert.notEqual(secondPid, pid);
    await asking.more(20);
    await second.close();
    await harness.hold([...upstreams, await udpUpstream(done, 'two')]).open();
    assert.notEqual(await runningPid(harness), secondPid);
    await asking.more(20);
    assert.deepEqual(await asking.end(), []);
    while ((await resolversOf(harness.controlSocket)).length > 1) await delay(20); // the older ones answered all, and ended
  });

  it('is started anew when it dies', async () => {
    const { harness, pid } = await running();
    for (let deaths = 0; deaths < 3; deaths++) {
      await killResolver(await runningPid(harness));
      await untilAnswered(harness.at);
    }
    assert.notEqual(await runningPid(harness), pid);
  });

  it('is ended and started anew by the next server when it does not answer', async () => {
    const { harness, upstreams, first, pid } = await running();
    await first.close();
    process.kill(pid, 'SIGSTOP');
    await harness.hold(upstreams).open();
    assert.notEqual(await runningPid(harness), pid);
    await untilAnswered(harness.at);
    assert.equal((await resolversOf(harness.controlSocket)).length, 1);
  });

  it('says what to do when its address is in use, and leaves nothing', async () => {
    const [harness, other] = [await resolverHarness(done), await resolverHarness(done)];
    await harness.hold([]).open();
    const resolver = other.hold([], {}, harness.at);
    await assert.rejects(resolver.open(), {
      code: 'unavailable',
      message: /is in use\. Stop the DNS server/,
    });
    assert.deepEqual(await resolversOf(other.controlSocket), []);
  });

  it('says what to do when its program is missing', async () => {
    const harness = await resolverHarness(done);
    const resolver = harness.hold([], { program: '/nonexistent/skerry-resolver' });
    await assert.rejects(resolver.open(), { code: 'unavailable', message: /npm run setup/ });
  });

  it('has no rights, and holds nothing of who started it', {
    skip: process.getuid?.() === 0 ? false : 'needs root',
  }, async () => {
    const harness = await resolverHarness(done);
    const user = resolverUser('ffffffff');
    await harness.hold([await udpUpstream(done, 'one')], { user }).open();
    const pid = await runningPid(harness);
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1];
    assert.equal(field('Uid'), [user, user, user, user].join('\t'));
    assert.equal(field('Gid'), [user, user, user, user].join('\t'));
    assert.deepEqual(['CapPrm', 'CapEff'].map(field), ['0000000000000000', '0000000000000000']);
    assert.equal(field('NoNewPrivs'), '1');
    await untilAnswered(harness.at);
  });
});
