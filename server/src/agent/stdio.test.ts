import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SkerryError } from '../errors/skerry-error.ts';
import { WINDOW_BYTES } from './frames.ts';
import { AgentHarness } from './testing/agent-harness.ts';
import { Collector } from './testing/collector.ts';

const MIB = 1 << 20;
/** What the agent may hold: its own pages and the two windows of a few processes. */
const AGENT_RSS_BOUND_KIB = 4096;

describe('standard input and output', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
  });
  after(() => agent[Symbol.asyncDispose]());

  const rss = async () => (await agent.client.stats(agent.deadline())).rssKiB;

  test('100 MB go through a process unchanged', async () => {
    const block = randomBytes(MIB);
    const sink = new Collector();
    const received = createHash('sha256');
    sink.onWrite = (_, chunk) => void received.update(chunk);
    const { process } = await agent.start(['cat'], {}, sink);
    const sent = createHash('sha256');
    for (let i = 0; i < 100; i++) {
      block.writeUInt32LE(i);
      sent.update(block);
      await process.writeStdin(i * MIB, block);
      assert.equal(process.stdinAccepted, (i + 1) * MIB);
    }
    await process.closeStdin();
    await sink.finished();
    assert.equal(sink.lengths.stdout, 100 * MIB);
    assert.equal(received.digest('hex'), sent.digest('hex'));
    process.release();
  });

  test('a slow reader holds the program back and costs the agent no memory', async () => {
    const sink = new Collector();
    let most = 0;
    let sinceLook = 0;
    sink.onWrite = async (_, chunk) => {
      sinceLook += chunk.length;
      if (sinceLook > 32 * MIB) {
        sinceLook = 0;
        most = Math.max(most, await rss());
      }
      await nextTurn();
    };
    const { process } = await agent.start(['head', '-c', String(256 * MIB), '/dev/zero'], {}, sink);
    await sink.finished();
    assert.equal(sink.lengths.stdout, 256 * MIB);
    assert.ok(most > 0 && most < AGENT_RSS_BOUND_KIB, `${most} KiB`);
    process.release();
  });

  /** A process that leaves a child which holds both streams: it writes more than a pipe takes, says so in `file`, and waits to be told to go on. */
  const leavesChild = (file: string) => `
    (until test -e ${file}.go; do sleep 0.01; done
     head -c 1000000 /dev/zero && head -c 1000000 /dev/zero >&2 && echo done > ${file}) &
    head -c 60000 /dev/zero; echo err >&2; exit 3`;

  for (const pty of [undefined, { rows: 24, cols: 80 }]) {
    test(`streams end with their process, ${pty ? 'on a terminal' : 'through pipes'}; who else writes to them is not held up`, async () => {
      const file = join(agent.directory, pty ? 'terminal' : 'pipes');
      const { process, sink } = await agent.start(['sh', '-c', leavesChild(file)], pty ? { pty } : {});
      await sink.finished();
      assert.deepEqual(sink.exitStatus, { kind: 'code', value: 3, timedOut: false });
      assert.equal(sink.lengths.stdout + sink.lengths.stderr, pty ? 60_005 : 60_004);
      process.release();
      const before = await agent.client.stats(agent.deadline());
      await writeFile(`${file}.go`, '');
      // A terminal is hung up when its session's leader ends: its children may write no more, as on any machine.
      if (pty) return;
      while ((await readFile(file, 'utf8').catch(() => '')) !== 'done\n') await nextTurn();
      while ((await agent.client.stats(agent.deadline())).openFiles > before.openFiles - 2) await nextTurn();
      assert.ok((await rss()) < AGENT_RSS_BOUND_KIB);
    });
  }

  test('all that a process wrote is in its stream, also when the reader is slow and a child writes on', async () => {
    const sink = new Collector();
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    sink.onWrite = () => gate;
    // More than the window: the rest is in the pipe when the process ends.
    const script = `yes > /dev/stdout & head -c ${WINDOW_BYTES + 30_000} /dev/zero >&2`;
    const { process } = await agent.start(['sh', '-c', script], {}, sink);
    await sink.until('the exit', () => sink.exitStatus !== undefined);
    release();
    await sink.finished();
    assert.equal(sink.lengths.stderr, WINDOW_BYTES + 30_000);
    process.signal(9, 'family');
    process.release();
  });

  test('a reader that stops lets the program write no more than the window and its pipe', async () => {
    const sink = new Collector();
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    sink.onWrite = () => gate;
    const counter = 'i=0; while [ $i -lt 100 ]; do head -c 65536 /dev/zero; i=$((i+1)); echo $i >&2; done';
    const { process } = await agent.start(['sh', '-c', counter], { stderr: 'pipe' }, sink);
    await sink.until('the first bytes', () => sink.lengths.stdout > 0);
    const info = async () => (await agent.client.list(agent.deadline())).find((it) => it.pid === process.pid);
    for (let seen = -1, now = (await info())?.stdout ?? 0; now !== seen; now = (await info())?.stdout ?? 0)
      seen = now;
    assert.ok(((await info())?.stdout ?? 0) <= 256 * 1024);
    release();
    await sink.finished();
    assert.equal(sink.lengths.stdout, 100 * 65536);
    process.release();
  });

  test('stdin: a replay is skipped, a gap refused, the end arrives', async () => {
    const { process, sink } = await agent.start(['cat']);
    await process.writeStdin(0, Buffer.from('hello '));
    await process.writeStdin(0, Buffer.from('hello world'));
    await assert.rejects(process.writeStdin(12, Buffer.from('x')), { code: 'invalid-argument' });
    await process.closeStdin();
    await process.closeStdin();
    await assert.rejects(process.writeStdin(11, Buffer.from('x')), { code: 'stdin-closed' });
    await process.writeStdin(0, Buffer.from('hello'));
    await sink.finished();
    assert.equal(sink.text('stdout'), 'hello world');
  });

  test('stdin of a process that closes it, ends, or has none is closed', async () => {
    const big = Buffer.alloc(MIB);
    const closing = await agent.start(['sh', '-c', 'exec <&-; echo closed; exec sleep 1000']);
    await closing.sink.until('the word', () => closing.sink.lengths.stdout > 0);
    await assert.rejects(closing.process.writeStdin(0, big), { code: 'stdin-closed' });
    closing.process.signal(9, 'process');
    await closing.sink.finished();
    const ending = await agent.start(['sh', '-c', 'read x']);
    const write = ending.process.writeStdin(0, Buffer.concat([Buffer.from('line\n'), big]));
    await assert.rejects(write, { code: 'stdin-closed' });
    const none = await agent.start(['cat'], { stdin: 'null' });
    assert.equal(none.process.stdinClosed, true);
    await none.sink.finished();
  });

  test('stderr ends at once when it is joined; a stream ends with its last writer, not with the process', async () => {
    const script = '(read x <&3; echo late $x) 3<&0 & exit 3';
    const { process, sink } = await agent.start(['sh', '-c', script], { stderr: 'stdout', pty: null });
    await sink.until('exit and the end of stderr', () => sink.exitStatus !== undefined && sink.ended.stderr);
    await sink.finished();
    assert.equal(process.stdinClosed, true);
    assert.equal(sink.exitStatus?.value, 3);
    assert.equal(sink.text('stdout'), 'late\n');
  });

  describe('terminals', () => {
    const pty = { rows: 24, cols: 80 };

    test('have the size asked for, follow a resize, and are the only stream', async () => {
      const script =
        'stty size; tty >&2; trap "stty size; exit 4" WINCH; echo ready; while :; do sleep 0.01; done';
      const { process, sink } = await agent.start(['sh', '-c', script], { pty });
      await sink.until('ready', () => sink.text('stdout').includes('ready'));
      assert.match(sink.text('stdout'), /^24 80\r\n\/dev\/pts\/\d+\r\nready\r\n$/);
      assert.equal(sink.ended.stderr, true);
      process.resize(50, 132);
      await sink.finished();
      assert.match(sink.text('stdout'), /ready\r\n50 132\r\n$/);
      assert.deepEqual(sink.exitStatus, { kind: 'code', value: 4, timedOut: false });
    });

    test('turn Ctrl-C into SIGINT', async () => {
      // Its answer shows that the program itself runs. A shell would lose a Ctrl-C that comes while it forks.
      const { process, sink } = await agent.start(['cat'], { pty });
      await process.writeStdin(0, Buffer.from('ready\n'));
      await sink.until('ready', () => sink.text('stdout') === 'ready\r\nready\r\n');
      await process.writeStdin(6, Buffer.from('\x03'));
      await sink.finished();
      assert.deepEqual(sink.exitStatus, { kind: 'signal', value: 2, timedOut: false });
    });

    test('hand over input by the line and end it, also in the middle of a line', async () => {
      for (const input of ['one\ntwo\n', 'one\ntwo']) {
        const { process, sink } = await agent.start(['sh', '-c', 'stty -echo; echo ready; cat; echo end'], {
          pty,
        });
        await sink.until('ready', () => sink.text('stdout').includes('ready'));
        await process.writeStdin(0, Buffer.from(input));
        await process.closeStdin();
        await sink.finished();
        assert.equal(sink.text('stdout'), `ready\r\n${input}end\r\n`.replaceAll(/\r?\n/g, '\r\n'));
      }
    });

    test('give all output of a program that ends at once', async () => {
      for (let i = 0; i < 20; i++) {
        const { sink } = await agent.exec(['sh', '-c', 'seq 1 5000'], { pty, stdin: 'pipe' });
        assert.equal(sink.text('stdout').split('\r\n').length, 5001);
      }
    });

    test('are refused a resize when there is none', async () => {
      const { process, sink } = await agent.start(['cat']);
      process.resize(1, 1);
      await sink.until('the end', () => sink.lostWith !== undefined);
      assert.equal((sink.lostWith as SkerryError | undefined)?.code, 'invalid-argument');
    });
  });
});
