import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AgentHarness } from './testing/agent-harness.ts';
import { Collector } from './testing/collector.ts';

test('an agent says what it was started with, of which no process gets anything by itself', async () => {
  await using agent = await AgentHarness.start(['env', 'TEST_DEVICE=one=1']);
  const given = await agent.client.environment(agent.deadline());
  assert.equal(given.TEST_DEVICE, 'one=1');
  assert.ok(given.PATH);
  const { sink } = await agent.start(['/usr/bin/env']);
  await sink.finished();
  assert.doesNotMatch(sink.text('stdout'), /TEST_DEVICE/);
});

describe('the life of processes', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
  });
  after(() => agent[Symbol.asyncDispose]());

  const pidsIn = (sink: Collector) => sink.text('stdout').trim().split('\n').map(Number);

  /** Waits until none of them runs. */
  const gone = async (pids: readonly number[]) => {
    for (const pid of pids) {
      while ((await agent.exec(['test', '-e', `/proc/${pid}`])).exit?.value === 0);
    }
  };

  /** A leader, a child in its group, and a grandchild that left group and session. */
  const family =
    'sleep 1000 & echo $!; sh -c "setsid sh -c \'echo \\$\\$; exec sleep 1000\' & wait" & echo $!; wait';

  test('when its time is up, a process ends with its whole family', async () => {
    const { sink } = await agent.start(['sh', '-c', family], { timeoutMs: 1000 });
    await sink.finished();
    assert.deepEqual(sink.exitStatus, { kind: 'signal', value: 9, timedOut: true });
    assert.equal(pidsIn(sink).length, 3);
    await gone(pidsIn(sink));
  });

  test('a process that ends in time was not timed out', async () => {
    const { exit } = await agent.exec(['true'], { timeoutMs: 60_000 });
    assert.deepEqual(exit, { kind: 'code', value: 0, timedOut: false });
  });

  test('a signal reaches the process alone or its family', async () => {
    // The child speaks for itself: before its exec it would still have the handler of the shell, and lose the signal.
    const child = "sh -c 'echo $$; exec sleep 1000'";
    const trap = `trap "exit 5" TERM; ${child} & while :; do wait; done`;
    const alone = await agent.start(['sh', '-c', trap]);
    await alone.sink.until('the child', () => alone.sink.text('stdout').endsWith('\n'));
    alone.process.signal(15, 'process');
    await alone.sink.finished();
    assert.equal(alone.sink.exitStatus?.value, 5);
    const [pid] = pidsIn(alone.sink);
    assert.equal((await agent.exec(['test', '-e', `/proc/${pid}`])).exit?.value, 0, 'the child lives on');
    alone.process.release();
    await agent.exec(['kill', String(pid)]);
    await gone(pidsIn(alone.sink));

    const all = await agent.start(['sh', '-c', family]);
    await all.sink.until('the family', () => pidsIn(all.sink).length === 3);
    all.process.signal(9, 'family');
    await all.sink.finished();
    await gone(pidsIn(all.sink));
  });

  test('a signal reaches what a process left behind, until it is released', async () => {
    const { process, sink } = await agent.start(['sh', '-c', 'sleep 1000 & echo $!']);
    await sink.finished();
    process.signal(9, 'family');
    await gone(pidsIn(sink));
  });

  test('100 processes at once', async () => {
    const runs = Array.from({ length: 100 }, (_, i) => agent.exec(['sh', '-c', `echo ${i}; exit ${i}`]));
    for (const [i, { exit, stdout }] of (await Promise.all(runs)).entries()) {
      assert.deepEqual([exit?.value, stdout], [i, `${i}\n`]);
    }
  });

  test('a cut connection costs nothing: no byte is lost or repeated', async () => {
    const request = agent.request(['sh', '-c', 'cat; exit 9']);
    const text = Array.from({ length: 200_000 }, (_, i) => `${i}\n`).join('');
    const input = Buffer.from(text);
    const offsets = { stdout: 0, stderr: 0 };
    const received: Buffer[] = [];
    let accepted = 0;
    for (let round = 0; ; round++) {
      const sink = new Collector();
      sink.lengths.stdout = offsets.stdout;
      sink.onWrite = (_, chunk) => void received.push(chunk);
      const process =
        round === 0
          ? await agent.client.start(request, sink, agent.deadline())
          : await agent.client.attach(request.id, offsets, sink, agent.deadline());
      assert.ok(process.stdinAccepted >= accepted);
      const writing = process.writeStdin(0, input.subarray(0, (round + 1) * 300_000));
      writing.catch(() => {});
      if ((round + 1) * 300_000 >= input.length) {
        await writing;
        await process.closeStdin();
        await sink.finished();
        assert.deepEqual(sink.exitStatus, { kind: 'code', value: 9, timedOut: false });
        break;
      }
      const goal = offsets.stdout + 100_000;
      await sink.until('some output', () => sink.lengths.stdout >= goal);
      accepted = process.stdinAccepted;
      agent.cutConnections();
      await sink.until('the cut', () => sink.lostWith !== undefined);
      await assert.rejects(process.writeStdin(0, input), { code: 'unavailable' });
      offsets.stdout = sink.lengths.stdout;
    }
    assert.equal(Buffer.concat(received).toString('utf8'), text);
  });

  test('a server that comes back finds its processes, running and ended', async () => {
    const running = agent.request(['sh', '-c', 'echo before; read x; echo after $x']);
    const ended = agent.request(['sh', '-c', 'echo done; exit 3']);
    const sinks = [new Collector(), new Collector()] as const;
    sinks[0].onWrite = () => new Promise(() => {}); // never stored, so that the agent keeps it for the next server, however long this one stays
    await agent.client.start(running, sinks[0], agent.deadline());
    await agent.client.start(ended, sinks[1], agent.deadline());
    await sinks[0].until('output', () => sinks[0].lengths.stdout > 0);
    await sinks[1].finished();
    await agent.stopListening();
    await sinks[0].until('the loss', () => sinks[0].lostWith !== undefined);
    assert.equal(sinks[1].lostWith, undefined, 'nothing was left to lose');
    await agent.listen();
    const list = await agent.client.list(agent.deadline());
    const info = (id: string) => list.find((process) => process.id === id);
    assert.deepEqual(info(running.id)?.exit, null);
    assert.equal(info(running.id)?.stdout, 7);
    assert.deepEqual(info(ended.id)?.exit, { kind: 'code', value: 3, timedOut: false });
    assert.equal(info(ended.id)?.stdoutEof, true);

    const again = new Collector();
    const process = await agent.client.attach(running.id, { stdout: 0, stderr: 0 }, again, agent.deadline());
    await process.writeStdin(0, Buffer.from('it\n'));
    await again.finished();
    assert.equal(again.text('stdout'), 'before\nafter it\n');
    process.release();

    const late = new Collector();
    const over = await agent.client.attach(ended.id, { stdout: 0, stderr: 0 }, late, agent.deadline());
    await late.finished();
    assert.equal(late.text('stdout'), 'done\n');
    over.release();
  });

  test('what was released is forgotten, what was acknowledged cannot be read again', async () => {
    const { process, sink } = await agent.start(['sh', '-c', 'head -c 300000 /dev/zero; read x']);
    await sink.until('all output', () => sink.lengths.stdout === 300_000);
    const id = (await agent.client.list(agent.deadline())).find((it) => it.pid === process.pid)?.id ?? '';
    const attach = (stdout: number) =>
      agent.client.attach(id, { stdout, stderr: 0 }, new Collector(), agent.deadline());
    await assert.rejects(attach(0), { code: 'invalid-argument' });
    await assert.rejects(attach(300_001), { code: 'invalid-argument' });
    await process.closeStdin();
    await sink.finished();
    process.release();
    while ((await agent.client.list(agent.deadline())).some((it) => it.id === id));
    await assert.rejects(attach(300_000), { code: 'not-found' });
  });

  test('orphans are reaped', async () => {
    const { stdout } = await agent.exec(
      ['sh', '-c', 'sh -c "(exit 0) & echo \\$!" ; sh -c "sleep 0.05 & echo \\$!"'],
      {
        stderr: 'null',
      },
    );
    for (const pid of stdout.trim().split('\n')) {
      const look = () => agent.exec(['test', '-e', `/proc/${pid}`]);
      while ((await look()).exit?.value === 0);
    }
  });

  test('KILL_ALL ends everything but the agent', async () => {
    const runs = await Promise.all(Array.from({ length: 3 }, () => agent.start(['sh', '-c', family])));
    for (const { sink } of runs) await sink.until('the family', () => pidsIn(sink).length === 3);
    await agent.client.killAll(9, agent.deadline());
    for (const { sink } of runs) {
      await sink.finished();
      assert.deepEqual(sink.exitStatus, { kind: 'signal', value: 9, timedOut: false });
    }
    assert.equal((await agent.exec(['true'])).exit?.value, 0);
  });

  test('an aborted request rejects with the reason and breaks nothing', async () => {
    const aborted = AbortSignal.abort(new Error('enough'));
    await assert.rejects(agent.client.start(agent.request(['true']), new Collector(), aborted), /enough/);
    assert.equal((await agent.exec(['true'])).exit?.value, 0);
  });

  test('malformed frames end the connection, not the agent', async () => {
    const frame = (type: number, payload: Buffer | string, length = payload.length) => {
      const header = Buffer.alloc(5);
      header.writeUInt8(type);
      header.writeUInt32LE(length, 1);
      return Buffer.concat([header, Buffer.from(payload)]);
    };
    const id = agent.newId();
    await agent.client.start({ ...agent.request(['cat']), id }, new Collector(), agent.deadline());
    const attach = frame(0x21, JSON.stringify({ id, stdoutOffset: 0, stderrOffset: 0 }));
    const cases = [
      frame(0x99, ''),
      frame(0x20, '', 0xffffffff),
      frame(0x20, 'not json'),
      frame(0x20, '[1]'),
      frame(0x20, '['.repeat(100_000)),
      frame(0x41, Buffer.alloc(9)),
      frame(0x22, '{}x'),
      frame(0x24, '{"signal":0}'),
      Buffer.concat([attach, frame(0x41, Buffer.from('\x05\0\0\0\0\0\0\0x'))]),
      Buffer.concat([attach, frame(0x43, Buffer.from('\x01\xff\xff\xff\xff\xff\xff\xff\xff', 'latin1'))]),
      Buffer.concat([attach, frame(0x43, Buffer.alloc(9, 7))]),
      Buffer.concat([attach, frame(0x45, Buffer.from([65, 0]))]),
      Buffer.concat([attach, frame(0x45, Buffer.from([9, 2]))]),
      Buffer.concat([attach, frame(0x46, '')]),
      Buffer.concat([attach, attach]),
    ];
    for (const bytes of cases) {
      const socket = await agent.dial(agent.deadline());
      const received: Buffer[] = [];
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.on('data', (chunk: Buffer) => received.push(chunk));
      socket.write(bytes);
      await closed;
      assert.match(
        Buffer.concat(received).toString('latin1'),
        /"kind":"invalid"/,
        bytes.subarray(0, 60).toString(),
      );
    }
    assert.equal((await agent.client.list(agent.deadline())).find((it) => it.id === id)?.exit, null);
  });
});
