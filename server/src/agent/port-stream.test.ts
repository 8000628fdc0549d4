import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { addAbortSignal, type Duplex } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { after, before, describe, test } from 'node:test';
import { AgentHarness } from './testing/agent-harness.ts';
import { connected, frame, hello, lyingAgent } from './testing/lying-agent.ts';

const MIB = 2 ** 20;

async function text(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe('streams to ports', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
  });
  after(() => agent[Symbol.asyncDispose]());

  /** A server that is gone, with its connections, after the test. */
  async function serve(onConnection: (socket: Socket) => void, { host = '127.0.0.1', port = 0 } = {}) {
    const sockets = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      onConnection(socket);
    });
    server.listen({ port, host });
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address && typeof address === 'object');
    return {
      port: address.port,
      [Symbol.asyncDispose]: async () => {
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  const connect = async (port: number) =>
    addAbortSignal(agent.deadline(), await agent.client.connect(port, agent.deadline()));
  /** How many descriptors the agent has. */
  const openFiles = async () => (await agent.client.stats(agent.deadline())).openFiles;
  /** Waits until the agent has let go of all but so many. */
  const settled = async (files: number) => {
    for (const deadline = agent.deadline(); (await openFiles()) > files; ) deadline.throwIfAborted();
  };
  /** Waits until a count stays as it is while the agent goes through its events again and again. */
  const still = async (count: () => number) => {
    const deadline = agent.deadline();
    for (let before = -1; before !== count(); ) {
      deadline.throwIfAborted();
      before = count();
      for (let round = 0; round < 100; round++) await openFiles();
    }
  };
  /** How a stream ends for those who have it. */
  const end = (stream: Duplex) =>
    finished(stream, { signal: agent.deadline() }).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code,
    );

  const outer = Object.values(networkInterfaces())
    .flat()
    .find((each) => each && !each.internal && each.family === 'IPv4')?.address;

  for (const host of ['127.0.0.1', '::1', '0.0.0.0', '::', ...(outer === undefined ? [] : [outer])]) {
    test(`reach a server on ${host === outer ? 'the address of an interface' : host}`, async () => {
      await using there = await serve((socket) => socket.end('hello'), { host });
      assert.equal(await text((await connect(there.port)).end()), 'hello');
    });
  }

  test('prefer the loopback', async () => {
    await using first = await serve((socket) => socket.end('v4'));
    await using _ = await serve((socket) => socket.end('v6'), { host: '::1', port: first.port });
    assert.equal(await text((await connect(first.port)).end()), 'v4');
  });

  test('half-close both ways', async () => {
    await using there = await serve(async (socket) => {
      socket.write('ready ');
      socket.end(`got ${await text(socket)}`);
    });
    const stream = await connect(there.port);
    assert.equal(String((await once(stream, 'data'))[0]), 'ready ');
    stream.write('');
    stream.end('question');
    assert.equal(await text(stream), 'got question');

    // The other way round: the program ends first and still reads.
    const heard = Promise.withResolvers<string>();
    await using early = await serve((socket) => {
      socket.end('bye');
      heard.resolve(text(socket));
    });
    const later = await connect(early.port);
    assert.equal(await text(later), 'bye');
    assert.equal(later.writable, true);
    later.end('not yet');
    assert.equal(await heard.promise, 'not yet');
  });

  test('carry what was sent, both ways at once, and are gone when both have ended', async () => {
    const files = await openFiles();
    await using there = await serve((socket) => socket.pipe(socket));
    const sent = Array.from({ length: 64 }, () => randomBytes(MIB));
    const stream = await connect(there.port);
    const [forth, back] = [createHash('sha256'), createHash('sha256')];
    for (const chunk of sent) forth.update(chunk);
    const reading = (async () => {
      for await (const chunk of stream) back.update(chunk);
    })();
    await Promise.all([pipeline(sent, stream, { end: true }), reading]);
    assert.equal(back.digest('hex'), forth.digest('hex'));
    await settled(files);
  });

  test('deliver what was written before both ended, though the program takes it later', async () => {
    const files = await openFiles();
    const got = Promise.withResolvers<Socket>();
    await using there = await serve((socket) => {
      socket.end();
      got.resolve(socket.pause());
    });
    const stream = await connect(there.port);
    stream.end(Buffer.alloc(MIB));
    stream.resume();
    await once(stream, 'close');
    let length = 0;
    for await (const chunk of await got.promise) length += chunk.length;
    assert.equal(length, MIB);
    await settled(files);
  });

  test('tell who is not there, and what cannot be a port', async () => {
    const { port, [Symbol.asyncDispose]: close } = await serve(() => {});
    await close();
    const message = `Nothing in the sandbox listens on port ${port}`;
    await assert.rejects(connect(port), { code: 'connection-refused', message });
    await assert.rejects(connect(70_000), { code: 'invalid-argument', message: /1 to 65535/ });
    await assert.rejects(agent.client.connect(port, AbortSignal.abort(new Error('enough'))), /enough/);
  });

  test('give up on a server whose queue is full', async () => {
    // It never accepts: what the kernel queues for it is all it takes.
    const program = `import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(0)
print(s.getsockname()[1], flush=True)
time.sleep(1000)`;
    const { sink, process } = await agent.start(['python3', '-c', program]);
    await sink.until('the port', () => sink.text('stdout').endsWith('\n'));
    const port = Number(sink.text('stdout'));
    const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => connect(port)));
    for (const outcome of outcomes) if (outcome.status === 'fulfilled') outcome.value.destroy();
    process.signal(9, 'family');
    await sink.finished();
    process.release();
    const late = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    assert.ok(late.length > 0);
    for (const { code, message } of late) {
      assert.equal(code, 'deadline-exceeded');
      assert.equal(message, `What listens on port ${port} does not take connections`);
    }
  });

  test('tell a broken stream from one that ended, in both directions', async () => {
    const files = await openFiles();
    const seen: Promise<string | undefined>[] = [];
    await using there = await serve((socket) => {
      seen.push(end(socket.resume()));
      socket.once('data', (word) => {
        if (String(word) === 'reset') socket.resetAndDestroy();
        else socket.write('half');
      });
    });
    const cut = await connect(there.port);
    cut.resume().write('reset');
    assert.equal(await end(cut), 'unavailable');

    const left = await connect(there.port);
    left.write('x');
    await once(left, 'data');
    left.destroy();
    assert.equal(await seen[1], 'ECONNRESET');

    // As when the server is killed, or lets go of its sandboxes.
    const lost = await connect(there.port);
    lost.write('x');
    await once(lost, 'data');
    agent.cutConnections();
    assert.equal(await end(lost), 'unavailable');
    assert.equal(await seen[2], 'ECONNRESET');
    await settled(files);
  });

  test('are given up though they are stuck', async () => {
    const files = await openFiles();
    const got = Promise.withResolvers<Socket>();
    await using there = await serve((socket) => got.resolve(socket.pause()));
    const stream = await connect(there.port);
    let taken = 0;
    const pour = (error?: Error | null) => {
      if (error) return;
      stream.write(Buffer.alloc(64 * 1024), (failed) => {
        taken++;
        pour(failed);
      });
    };
    pour();
    // Neither the program nor the agent reads any more.
    await still(() => taken);
    stream.destroy();
    assert.equal(await end((await got.promise).resume()), 'ECONNRESET');
    await settled(files);
  });

  test('hold a fast writer back on either side, and nobody else', async () => {
    let [written, taken] = [0, 0];
    await using source = await serve((socket) => {
      const pour = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024))) written += 64 * 1024;
      };
      socket.on('drain', pour);
      pour();
    });
    await using sink = await serve((socket) => socket.pause());
    const before = await agent.client.stats(agent.deadline());
    const [reading, writing] = [await connect(source.port), await connect(sink.port)];
    const pour = (error?: Error | null) => {
      if (error) return;
      writing.write(Buffer.alloc(64 * 1024), (failed) => {
        taken += 64 * 1024;
        pour(failed);
      });
    };
    pour();
    await still(() => written + taken);
    assert.ok(written > 0 && written < 32 * MIB, `${written}`);
    assert.ok(taken > 0 && taken < 32 * MIB, `${taken}`);
    const { rssKiB } = await agent.client.stats(agent.deadline());
    assert.ok(rssKiB - before.rssKiB < 1024, `${before.rssKiB} to ${rssKiB} KiB`);
    assert.equal((await agent.exec(['echo', 'fine'])).stdout, 'fine\n');
    await using other = await serve((socket) => socket.end('hello'));
    assert.equal(await text((await connect(other.port)).end()), 'hello');
    for (const stream of [reading, writing]) stream.destroy();
  });

  test('100 at once', async () => {
    const files = await openFiles();
    await using there = await serve((socket) => socket.pipe(socket));
    const streams = await Promise.all(Array.from({ length: 100 }, () => connect(there.port)));
    const echoes = streams.map(async (stream, index) => {
      stream.end(`${index}`.repeat(10_000));
      assert.equal(await text(stream), `${index}`.repeat(10_000));
    });
    await Promise.all(echoes);
    await settled(files);
  });

  test('no more than 512 at once', async () => {
    const files = await openFiles();
    await using there = await serve((socket) => socket.resume());
    const streams: Duplex[] = [];
    for (let left = 512; left > 0; left -= 64) {
      streams.push(...(await Promise.all(Array.from({ length: 64 }, () => connect(there.port)))));
    }
    await assert.rejects(connect(there.port), { code: 'resource-exhausted', message: /^512 connections/ });
    streams.pop()?.destroy();
    await settled(files + 2 * 511);
    (await connect(there.port)).destroy();
    for (const stream of streams) stream.destroy();
    await settled(files);
  });

  test('an agent that ends takes them along', async () => {
    const own = await AgentHarness.start();
    await using there = await serve((socket) => socket.resume());
    const stream = await own.client.connect(there.port, own.deadline());
    const ended = end(stream.resume());
    await own[Symbol.asyncDispose]();
    assert.equal(await ended, 'unavailable');
  });

  test('malformed frames end a stream, not the agent', async () => {
    await using there = await serve((socket) => socket.resume());
    const dial = frame(0x25, JSON.stringify({ port: there.port }));
    const cases: [Buffer, ...Buffer[]][] = [
      [frame(0x25, '{"port":0}')],
      [frame(0x25, '{"port":"80"}')],
      [frame(0x25, '{}')],
      [frame(0x25, JSON.stringify({ port: there.port, version: 7 }))],
      [frame(0x22, '{"version":"1"}')],
      [frame(0x47, 'x')],
      [frame(0x48)],
      [Buffer.concat([dial, frame(0x47, 'early')])],
      [dial, frame(0x47, '', 0)],
      [dial, frame(0x47, '', 32 * 1024 + 1)],
      [dial, frame(0x48, 'x')],
      [dial, Buffer.concat([frame(0x48), frame(0x47, 'x')])],
      [dial, Buffer.concat([frame(0x48), frame(0x48)])],
      [dial, dial],
      [dial, frame(0x41, Buffer.alloc(9))],
      [dial, frame(0x46)],
    ];
    for (const [first, ...rest] of cases) {
      const socket = await agent.dial(agent.deadline());
      const received: Buffer[] = [];
      const signal = agent.deadline();
      const closed = once(socket, 'close', { signal });
      socket.on('data', (chunk: Buffer) => received.push(chunk));
      socket.write(first);
      for (const next of rest) {
        while (!Buffer.concat(received).includes(frame(0x0a))) await once(socket, 'data', { signal });
        socket.write(next);
      }
      await closed;
      const said = [first, ...rest].map((bytes) => bytes.toString('latin1').slice(0, 60)).join();
      assert.match(Buffer.concat(received).toString('latin1'), /"kind":"invalid"/, said);
    }
    (await connect(there.port)).destroy();
  });
});

describe('a stream against an agent that lies', () => {
  const signal = () => AbortSignal.timeout(10_000);
  const against = async (...says: Buffer[]) =>
    addAbortSignal(signal(), await lyingAgent(...says).client.connect(80, signal()));

  test('a DIAL is not believed without a proper answer', async () => {
    const broke = { code: 'internal', message: /broke the protocol/ };
    const started = frame(0x02, '{"pid":7,"stdinAccepted":0,"stdinClosed":false}');
    for (const lie of [frame(0x0b, 'x'), frame(0x0c), started, hello, frame(0x0a, 'x'), frame(0x03, '{}')]) {
      await assert.rejects(against(hello, lie), broke, lie.toString());
    }
    const refused = frame(0x03, '{"kind":"refused","message":"nobody"}');
    await assert.rejects(against(hello, refused), { code: 'connection-refused', message: 'Nobody' });
  });

  test('what does not belong breaks the stream', async () => {
    for (const [lie, code] of [
      [[connected], 'internal'],
      [[frame(0x0c), frame(0x0b, 'x')], 'internal'],
      [[frame(0x0c), frame(0x0c)], 'internal'],
      [[frame(0x04, '12345678x')], 'internal'],
      [[frame(0x0b, 'x'.repeat(32 * 1024 + 1))], 'internal'],
      [[frame(0x03, '{"kind":"resources","message":"none"}')], 'resource-exhausted'],
    ] as const) {
      const stream = await against(hello, connected, ...lie);
      await assert.rejects(finished(stream.resume()), { code }, Buffer.concat(lie).toString().slice(0, 40));
    }
  });

  test('a stream that nobody looks at may break', async () => {
    const stream = await against(hello, connected, frame(0x77));
    await finished(stream).catch(() => {});
    assert.ok(stream.errored);
  });

  test('keeps no more of what nobody reads than came at once, however small the pieces', async () => {
    const { client, theirs } = lyingAgent(hello, connected);
    const stream = addAbortSignal(signal(), await client.connect(80, signal()));
    for (let count = 0; count < 1000; count++) theirs[0]?.write(frame(0x0b, 'x'));
    theirs[0]?.write(frame(0x0c));
    for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate);
    assert.equal(stream.readableLength, 1);
    assert.equal(await text(stream.end()), 'x'.repeat(1000));
  });

  test('does not wait for ever for an agent that keeps what is over', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { client, ours } = lyingAgent(hello, connected, frame(0x0c));
    const stream = addAbortSignal(signal(), await client.connect(80, signal()));
    stream.resume().end();
    await once(stream, 'close');
    assert.equal(ours[0]?.destroyed, false, 'the program may not have taken all of it yet');
    t.mock.timers.tick(60_000);
    assert.equal(ours[0]?.destroyed, true);
  });
});
