/** What the resolver's program (`resolver/`) does with questions. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer, type Socket as NetSocket } from 'node:net';
import { after, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { resolverBinaryPath } from '../agent/agent-binary.ts';
import { Cleanup } from '../platform/cleanup.ts';
import type { Endpoint } from './resolver-process.ts';
import {
  echo,
  framed,
  QUESTION,
  readMessages,
  resolverHarness,
  tcpUpstream,
  udpClient,
  udpUpstream,
} from './testing/resolver-harness.ts';

const done = new Cleanup();
after(() => done.run());

async function resolver(
  upstreams: readonly Endpoint[],
  bounds: Readonly<Record<string, number>> = {},
): Promise<Endpoint> {
  const { at, hold } = await resolverHarness(done);
  await hold(upstreams, { bounds: { 'answer-ms': 200, ...bounds } }).open();
  return at;
}

/** The answer to a question over UDP. */
async function answered(at: Endpoint, from?: string): Promise<Buffer> {
  const socket = await udpClient(done, from);
  socket.send(QUESTION, at.port, at.address);
  const [answer] = await once(socket, 'message');
  return answer;
}

function dial({ address, port }: Endpoint, localAddress?: string): NetSocket {
  const socket = connect({ host: address, port, localAddress });
  socket.on('error', () => {}); // some are cut off with bytes on their way
  done.add('connection', () => socket.destroy());
  return socket;
}

const nextMessage = (socket: NetSocket): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    readMessages(socket, resolve);
    socket.once('close', () => reject(new Error('the connection ended without an answer')));
  });

const closed = (socket: NetSocket): Promise<unknown> =>
  new Promise((resolve) => socket.once('close', resolve).resume());

/** A place where nobody listens. */
async function refusing(): Promise<Endpoint> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  server.close();
  return { address: '127.0.0.1', port: address.port };
}

const skip = existsSync(resolverBinaryPath()) ? false : 'the resolver is not built';

describe('the resolver, over UDP', { skip }, () => {
  it('passes questions on and answers back', async () => {
    const answer = await answered(await resolver([await udpUpstream(done, 'one')]));
    assert.equal(answer.toString('latin1'), `${QUESTION.toString('latin1')}one`);
  });

  it('asks the next server when one is silent', async () => {
    const upstreams = [await udpUpstream(done, undefined), await udpUpstream(done, 'two')];
    assert.ok((await answered(await resolver(upstreams))).toString('latin1').endsWith('two'));
  });

  it('asks the next server when there is no way to one, and when one refuses', async () => {
    const noWay = { address: '255.255.255.255', port: 53 }; // refused at once: the socket may not broadcast
    const upstreams = [noWay, await refusing(), await udpUpstream(done, 'two')];
    assert.ok((await answered(await resolver(upstreams))).toString('latin1').endsWith('two'));
  });

  it('answers SERVFAIL when none answers', async () => {
    const answer = await answered(await resolver([await udpUpstream(done, undefined)]));
    assert.equal(answer.readUInt16BE(0), QUESTION.readUInt16BE(0));
    assert.equal(answer.readUInt8(2) & 0x80, 0x80);
    assert.equal(answer.readUInt8(3) & 0x0f, 2);
  });

  it('drops what is too short or too long and bounds one client', async () => {
    const silent = await udpUpstream(done, undefined);
    const at = await resolver([silent], { 'questions-per-client': 8 });
    const socket = await udpClient(done);
    socket.send(Buffer.alloc(QUESTION.length - 1), at.port, at.address);
    socket.send(Buffer.alloc(5000), at.port, at.address);
    const asked = 100;
    for (let i = 0; i < asked; i++) socket.send(QUESTION, at.port, at.address);
    for (let answers = 0; answers < 8; answers++) await once(socket, 'message');
    assert.ok(silent.questions.length < asked);
    assert.ok(silent.questions.every((sent) => sent.length === QUESTION.length));
  });

  it('answers one client though others together have asked more than it holds', async () => {
    const silent = await udpUpstream(done, undefined);
    const bounds = { questions: 16, 'questions-per-client': 4 };
    const at = await resolver([silent, await udpUpstream(done, 'late')], bounds);
    for (let other = 2; other < 10; other++) {
      const socket = await udpClient(done, `127.0.0.${other}`);
      for (let i = 0; i < 50; i++) socket.send(QUESTION, at.port, at.address);
    }
    while (silent.questions.length < bounds.questions) await nextTurn(); // it is full
    assert.ok((await answered(at, '127.0.0.100')).toString('latin1').endsWith('late'));
  });
});

describe('the resolver, over TCP', { skip }, () => {
  it('joins a connection to a server that accepts', async () => {
    const socket = dial(await resolver([await refusing(), await echo(done)]));
    socket.write(framed(QUESTION));
    assert.deepEqual(await nextMessage(socket), QUESTION);
  });

  it('passes answers to who sends nothing more, the longest too', async () => {
    const long = Buffer.concat([QUESTION, Buffer.alloc(65_535 - QUESTION.length, 'x')]);
    const upstream = await tcpUpstream(done, (_message, answer) => answer(long));
    const socket = dial(await resolver([upstream]));
    socket.end(framed(QUESTION));
    assert.deepEqual(await nextMessage(socket), long);
  });

  it('reads no further while questions of a connection are not answered', async () => {
    const waiting: (() => void)[] = [];
    const upstream = await tcpUpstream(done, (message, answer) => waiting.push(() => answer(message)));
    const socket = dial(await resolver([upstream]));
    const answers: Buffer[] = [];
    readMessages(socket, (message) => answers.push(message));
    const asked = 40;
    for (let i = 0; i < asked; i++) socket.write(framed(QUESTION));
    let most = 0;
    while (answers.length < asked) {
      most = Math.max(most, waiting.length);
      if (waiting.length > 0) waiting.shift()?.();
      await nextTurn();
    }
    assert.ok(most <= 4, `${most} were asked at once`);
  });

  for (const [what, bytes] of [
    ['too long', framed(Buffer.alloc(4097))],
    ['too short', framed(Buffer.alloc(QUESTION.length - 1))],
  ] as const) {
    it(`ends a connection over which a question comes that is ${what}`, async () => {
      const upstream = await tcpUpstream(done, () => assert.fail('it was passed on'));
      const socket = dial(await resolver([upstream]));
      socket.write(bytes);
      await closed(socket);
    });
  }

  it('takes a connection of one client though others together have opened more than it holds', async () => {
    const at = await resolver([await echo(done)], { connections: 16, 'connections-per-client': 4 });
    const opened: NetSocket[] = [];
    for (let other = 2; other < 10; other++) {
      for (let i = 0; i < 8; i++) opened.push(dial(at, `127.0.0.${other}`));
    }
    await Promise.all(opened.map((socket) => once(socket, 'connect')));
    for (const socket of opened) socket.resume(); // else its end is not read
    const socket = dial(at, '127.0.0.100');
    socket.write(framed(QUESTION));
    assert.deepEqual(await nextMessage(socket), QUESTION);
    // Each of the others has at most its share.
    for (let first = 0; first < opened.length; first += 8) {
      const ofOne = opened.slice(first, first + 8);
      while (ofOne.filter((one) => !one.closed).length > 4) await nextTurn();
    }
  });

  it('ends a connection over which nothing whole comes', async () => {
    const socket = dial(await resolver([await echo(done)], { 'idle-ms': 200 }));
    socket.write(framed(QUESTION).subarray(0, QUESTION.length));
    await closed(socket);
  });

  it('ends a connection after a while though questions keep coming', async () => {
    const socket = dial(await resolver([await echo(done)], { 'connection-ms': 200 }));
    readMessages(socket, () => socket.write(framed(QUESTION)));
    socket.write(framed(QUESTION));
    await closed(socket);
  });
});
