import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Socket as NetSocket } from 'node:net';
import { after, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Cleanup } from '../platform/cleanup.ts';
import { createLogger } from '../telemetry/logger.ts';
import { type DnsBounds, DnsForwarder } from './dns-forwarder.ts';

const done = new Cleanup();
after(() => done.run());

/** An upstream that answers with the question behind its own name, or not at all. */
async function upstream(
  name: string | undefined,
): Promise<{ address: string; port: number; questions: Buffer[] }> {
  const socket = createSocket('udp4');
  const questions: Buffer[] = [];
  socket.on('message', (question, client) => {
    questions.push(question);
    if (name !== undefined)
      socket.send(Buffer.concat([question, Buffer.from(name)]), client.port, client.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  done.add('upstream', () => socket.close());
  return { address: '127.0.0.1', port: socket.address().port, questions };
}

async function forwarder(
  upstreams: { address: string; port: number }[],
  bounds: Partial<DnsBounds> = {},
): Promise<DnsForwarder> {
  const dns = new DnsForwarder({
    address: '127.0.0.1',
    port: 0,
    upstreams,
    logger: createLogger('silent'),
    timeoutMs: 200,
    bounds,
  });
  await dns.open();
  done.add('forwarder', () => dns.close());
  return dns;
}

async function client(address = '127.0.0.1'): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, address);
  await once(socket, 'listening');
  done.add('client', () => socket.close());
  return socket;
}

/** A server over TCP that answers with what it is sent. */
async function echo(): Promise<{ address: string; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  done.add('echo', () => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  return { address: '127.0.0.1', port: address.port };
}

const question = Buffer.from('abcd01000001000000000000', 'hex');

describe('DnsForwarder', () => {
  it('passes questions on and answers back', async () => {
    const dns = await forwarder([await upstream('one')]);
    const socket = await client();
    socket.send(question, dns.udpPort, '127.0.0.1');
    const [answer] = await once(socket, 'message');
    assert.equal(answer.toString('latin1'), `${question.toString('latin1')}one`);
  });

  it('asks the next server when one is silent', async () => {
    const dns = await forwarder([await upstream(undefined), await upstream('two')]);
    const socket = await client();
    socket.send(question, dns.udpPort, '127.0.0.1');
    const [answer] = await once(socket, 'message');
    assert.ok(answer.toString('latin1').endsWith('two'));
  });

  it('asks the next server when there is no way to one', async () => {
    const noWay = { address: '255.255.255.255', port: 53 }; // refused at once: the socket may not broadcast
    const dns = await forwarder([noWay, await upstream('two')]);
    const socket = await client();
    socket.send(question, dns.udpPort, '127.0.0.1');
    const [answer] = await once(socket, 'message');
    assert.ok(answer.toString('latin1').endsWith('two'));
  });

  it('answers SERVFAIL when none answers', async () => {
    const dns = await forwarder([await upstream(undefined)]);
    const socket = await client();
    socket.send(question, dns.udpPort, '127.0.0.1');
    const [answer] = await once(socket, 'message');
    assert.equal(answer.readUInt16BE(0), 0xabcd);
    assert.equal(answer.readUInt8(2) & 0x80, 0x80);
    assert.equal(answer.readUInt8(3) & 0x0f, 2);
  });

  it('drops what is too short or too long and bounds one client', async () => {
    const silent = await upstream(undefined);
    const dns = await forwarder([silent]);
    const socket = await client();
    socket.send(Buffer.alloc(11), dns.udpPort, '127.0.0.1');
    socket.send(Buffer.alloc(5000), dns.udpPort, '127.0.0.1');
    for (let i = 0; i < 200; i++) socket.send(question, dns.udpPort, '127.0.0.1');
    let answers = 0;
    socket.on('message', () => answers++);
    while (answers < 64) await once(socket, 'message');
    assert.ok(silent.questions.length < 200);
    assert.ok(silent.questions.every((sent) => sent.length === question.length));
  });

  it('joins TCP connections to a server that accepts', async () => {
    const refusing = createServer().listen(0, '127.0.0.1');
    await once(refusing, 'listening');
    const closed = refusing.address();
    assert.ok(typeof closed === 'object' && closed);
    refusing.close();
    const dns = await forwarder([{ address: '127.0.0.1', port: closed.port }, await echo()]);
    const socket = connect(dns.tcpPort, '127.0.0.1');
    socket.write('question');
    const [answer] = await once(socket, 'data');
    assert.equal(answer.toString(), 'question');
    socket.destroy();
  });

  it('answers one client though others together have asked more than it holds', async () => {
    const silent = await upstream(undefined);
    const bounds = { pending: { total: 16, perClient: 4 } };
    const dns = await forwarder([silent, await upstream('late')], bounds);
    for (let other = 2; other < 10; other++) {
      const socket = await client(`127.0.0.${other}`);
      for (let i = 0; i < 50; i++) socket.send(question, dns.udpPort, '127.0.0.1');
    }
    while (silent.questions.length < 16) await nextTurn(); // it is full
    const socket = await client('127.0.0.100');
    socket.send(question, dns.udpPort, '127.0.0.1');
    const [answer] = await once(socket, 'message');
    assert.ok(answer.toString('latin1').endsWith('late'));
  });

  it('takes a TCP connection of one client though others together have opened more than it holds', async () => {
    const dns = await forwarder([await echo()], { connections: { total: 16, perClient: 4 } });
    const opened: NetSocket[] = [];
    for (let other = 2; other < 10; other++) {
      for (let i = 0; i < 8; i++) {
        const socket = connect({ port: dns.tcpPort, host: '127.0.0.1', localAddress: `127.0.0.${other}` });
        socket.on('error', () => {});
        done.add('connection', () => socket.destroy());
        opened.push(socket);
      }
    }
    await Promise.all(opened.map((socket) => once(socket, 'connect')));
    const socket = connect({ port: dns.tcpPort, host: '127.0.0.1', localAddress: '127.0.0.100' });
    socket.write('question');
    const [answer] = await once(socket, 'data');
    assert.equal(answer.toString(), 'question');
    socket.destroy();
    // Each of the others has at most its share.
    for (let first = 0; first < opened.length; first += 8) {
      const ofOne = opened.slice(first, first + 8);
      while (ofOne.filter((one) => !one.closed).length > 4) await nextTurn();
    }
  });

  it('ends a TCP connection after a while though bytes keep coming', async () => {
    const dns = await forwarder([await echo()], { connectionMs: 200 });
    const socket = connect(dns.tcpPort, '127.0.0.1');
    socket.on('error', () => {}); // it is cut off with bytes on their way
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('data', () => socket.write('more'));
    socket.write('question');
    await closed;
  });

  it('says what to do when its address cannot be had', async () => {
    const dns = new DnsForwarder({
      address: '192.0.2.254',
      port: 0,
      upstreams: [],
      logger: createLogger('silent'),
    });
    await assert.rejects(dns.open(), { code: 'unavailable' });
  });
});
