import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type AgentFrame, encode, FrameDecoder, FrameError } from './frames.ts';
import { Collector } from './testing/collector.ts';
import { frame, lyingAgent } from './testing/lying-agent.ts';

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

const output = (offset: number, data: string | Buffer) =>
  frame(0x04, Buffer.concat([u64(offset), Buffer.from(data)]));
const hello = frame(0x01, '{"version":1,"pid":1}');
const started = frame(0x02, '{"pid":7,"stdinAccepted":0,"stdinClosed":false}');

function decode(...chunks: Buffer[]): AgentFrame[] {
  const decoder = new FrameDecoder();
  const frames: AgentFrame[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let next = decoder.next(); next; next = decoder.next()) frames.push(next);
  }
  return frames;
}

describe('the decoder', () => {
  test('gives the same frames however they are cut', () => {
    const bytes = Buffer.concat([
      hello,
      output(2 ** 40, 'abc'),
      frame(0x06, Buffer.concat([Buffer.from([2]), u64(9)])),
      frame(0x07, Buffer.concat([u64(5), Buffer.from([1])])),
      frame(0x08, Buffer.from([1, 9, 0, 0, 0, 1])),
    ]);
    const whole = decode(bytes);
    assert.deepEqual(whole, [
      { type: 'hello', json: '{"version":1,"pid":1}' },
      { type: 'output', stream: 'stdout', offset: 2 ** 40, data: Buffer.from('abc') },
      { type: 'eof', stream: 'stderr', length: 9 },
      { type: 'stdin-ack', accepted: 5, closed: true },
      { type: 'exit', exit: { kind: 'signal', value: 9, timedOut: true } },
    ]);
    for (let cut = 1; cut < bytes.length; cut++) {
      assert.deepEqual(decode(bytes.subarray(0, cut), bytes.subarray(cut)), whole);
    }
    assert.deepEqual(decode(...[...bytes].map((byte) => Buffer.from([byte]))), whole);
  });

  test('refuses what is out of bounds, before its payload comes', () => {
    const refused = [
      frame(0x00, ''),
      frame(0x20, '{}'),
      frame(0x01, '', 1025),
      frame(0x03, '', 8193),
      frame(0x04, '', (256 << 10) + 9),
      frame(0x04, '', 8),
      frame(0x09, '', 0xffffffff),
      frame(0x06, Buffer.concat([Buffer.from([3]), u64(0)])),
      frame(0x07, Buffer.concat([u64(0), Buffer.from([2])])),
      frame(0x08, Buffer.from([0, 0, 1, 0, 0, 0])),
      frame(0x08, Buffer.from([1, 0, 0, 0, 0, 0])),
      output(2 ** 53, 'x'),
    ];
    for (const bytes of refused) assert.throws(() => decode(bytes), FrameError, bytes.toString('hex'));
  });

  test('offsets beyond 32 bits are written as they are read', () => {
    const bytes = encode.stdinHeader(2 ** 40 + 3, 1);
    assert.equal(bytes.readBigUInt64LE(5), 2n ** 40n + 3n);
  });
});

describe('against an agent that lies', () => {
  const client = (...says: Buffer[]) => lyingAgent(...says).client;
  const request = {
    id: 'x',
    argv: ['x'],
    env: {},
    cwd: '/',
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
  } as const;
  const signal = () => AbortSignal.timeout(10_000);
  const protocol = { code: 'internal', message: /broke the protocol/ };

  test('a START is not believed without a proper answer', async () => {
    const answers = [
      [started],
      [frame(0x01, '{"version":1}'), started],
      [hello, hello],
      [hello, output(0, 'x')],
      [hello, frame(0x02, '{"pid":"7","stdinAccepted":0,"stdinClosed":false}')],
      [hello, frame(0x02, '{"pid":7,"stdinAccepted":-1,"stdinClosed":false}')],
      [hello, frame(0x03, '{"kind":7}')],
      [hello, frame(0x03, '[')],
      [hello, frame(0x77, '')],
    ];
    for (const answer of answers) {
      await assert.rejects(client(...answer).start(request, new Collector(), signal()), protocol);
    }
  });

  test('an unknown kind of error is internal, with the words of the agent', async () => {
    const answer = frame(0x03, '{"kind":"constructor","message":"odd"}');
    const error = { code: 'internal', message: 'Odd' };
    await assert.rejects(client(hello, answer).start(request, new Collector(), signal()), error);
  });

  test('output out of order, beyond the window or after its end loses the connection', async () => {
    const full = Buffer.alloc(256 << 10);
    const eof = (length: number) => frame(0x06, Buffer.concat([Buffer.from([1]), u64(length)]));
    const exit = frame(0x08, Buffer.alloc(6));
    const lies = [
      [output(1, 'x')],
      [output(0, 'x'), output(0, 'x')],
      [output(0, full), output(full.length, 'x')],
      [output(0, 'x'), eof(2)],
      [eof(0), output(0, 'x')],
      [eof(0), eof(0)],
      [exit, exit],
      [started],
      [
        frame(0x07, Buffer.concat([u64(9), Buffer.from([0])])),
        frame(0x07, Buffer.concat([u64(8), Buffer.from([0])])),
      ],
    ];
    for (const lie of lies) {
      const sink = new Collector();
      // Never stored, so never acknowledged.
      sink.onWrite = () => new Promise(() => {});
      await client(hello, started, ...lie).start(request, sink, signal());
      await sink.until('the loss', () => sink.lostWith !== undefined);
      assert.match(
        sink.lostWith?.message ?? '',
        protocol.message,
        Buffer.concat(lie).subarray(0, 40).toString('hex'),
      );
    }
  });

  test('answers of LIST and STATS are checked', async () => {
    const list = (json: string) => client(hello, frame(0x09, json)).list(signal());
    assert.deepEqual(await list('{"processes":[],"later":1}'), []);
    await assert.rejects(list('{"processes":[{"id":"../x"}]}'), protocol);
    await assert.rejects(list('{}'), protocol);
    await assert.rejects(client(hello, frame(0x09, '{"rssKiB":1e99}')).stats(signal()), protocol);
  });

  test('what the sink cannot store ends the connection with its error', async () => {
    const sink = new Collector();
    sink.onWrite = () => Promise.reject(new Error('disk'));
    await client(hello, started, output(0, 'x')).start(request, sink, signal());
    await sink.until('the loss', () => sink.lostWith !== undefined);
    assert.equal(sink.lostWith?.code, 'internal');
    assert.match(String(sink.lostWith?.cause), /disk/);
  });
});
