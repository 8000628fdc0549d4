/** Connections to ports of sandboxes, over the fake engine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { describe, it } from 'node:test';
import { connected, frame, hello, lyingAgent } from '../agent/testing/lying-agent.ts';
import { PortConnections } from './port-connections.ts';
import type { Sandbox } from './sandboxes.ts';
import { Domain, deadline, eventually, exec } from './testing/domain.ts';

const PORT = 5000;

/** Serves in the sandbox until that ends; each connection has a program of its own. */
async function serve(sandbox: Sandbox, program: string): Promise<void> {
  await exec(sandbox, ['nc', '-ll', '-p', `${PORT}`, '-e', 'sh', '-c', program]);
}

/** A connection, as soon as there is a server. */
async function connect(sandbox: Sandbox): Promise<Duplex> {
  let stream: Duplex | undefined;
  await eventually(async () => {
    stream = await sandbox.connect(PORT, deadline()).catch((error) => {
      assert.equal(error.code, 'connection-refused');
      return undefined;
    });
    return stream !== undefined;
  });
  assert.ok(stream);
  return stream;
}

async function text(stream: Duplex): Promise<string> {
  let all = '';
  for await (const chunk of stream) all += chunk;
  return all;
}

/** The error a stream fails with. */
const failure = (stream: Duplex) => finished(stream.resume()).catch((error) => error.code);

describe('a connection to a port', () => {
  it('reaches a server on the loopback alone', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    await exec(sandbox, ['httpd', '-p', `127.0.0.1:${PORT}`, '-h', '/data']);
    const stream = await connect(sandbox);
    stream.end('GET /lower.txt HTTP/1.0\r\n\r\n');
    assert.match(await text(stream), /^HTTP\/1.[01] 200 OK.*\r\n\r\nlower\n$/s);
  });

  it('half-closes, and may be asked for before the sandbox runs', async () => {
    await using domain = await Domain.open();
    const held = domain.engine.faults.hold('bind');
    const sandbox = await domain.create({ args: ['sleep', '1000'] });
    const early = sandbox.connect(PORT, deadline());
    held.release();
    await assert.rejects(early, {
      code: 'connection-refused',
      message: `Nothing in the sandbox listens on port ${PORT}`,
    });
    await serve(sandbox, 'cat; echo over');
    const stream = await connect(sandbox);
    assert.deepEqual((await sandbox.usage())?.ports, { connections: 1, receivedBytes: 0, sentBytes: 0 });
    stream.end('hello\n');
    assert.equal(await text(stream), 'hello\nover\n');
    await eventually(async () => (await sandbox.usage())?.ports.connections === 0);
    assert.deepEqual((await sandbox.usage())?.ports, { connections: 0, receivedBytes: 6, sentBytes: 11 });
  });

  it('is refused for what is no port, and once the sandbox has ended, with the reason', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    for (const port of [0, -1, 65_536, 1.5, Number.NaN, '80' as unknown as number]) {
      await assert.rejects(sandbox.connect(port, deadline()), { code: 'invalid-argument' }, String(port));
    }
    await serve(sandbox, 'exec cat');
    const stream = await connect(sandbox);
    const failed = failure(stream);
    await sandbox.terminate();
    assert.equal(await failed, 'unavailable');
    const ended = { code: 'sandbox-ended', message: /already completed/ };
    await assert.rejects(sandbox.connect(PORT, deadline()), ended);
    await assert.rejects(domain.manager.get(sandbox.id).connect(PORT, deadline()), ended);
  });

  it('says that the sandbox ended when that is why it was not made', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const held = domain.engine.faults.hold('dial');
    const waiting = sandbox.connect(PORT, deadline());
    const refused = assert.rejects(waiting, { code: 'sandbox-ended', message: /already completed/ });
    await held.reached;
    await sandbox.terminate();
    await refused;
    held.release();
  });

  it('is activity as long as it is open, whoever closes it', async () => {
    await using domain = await Domain.open();
    // A server from the start: an exec would be activity, too.
    const args = ['nc', '-ll', '-p', `${PORT}`, '-e', 'cat'];
    const sandbox = await domain.running({ args, idleTimeoutMs: 300 });
    const stream = await connect(sandbox);
    const [first, second] = [await connect(sandbox), await connect(sandbox)];
    first.destroy();
    second.end();
    second.resume();
    await once(second, 'close');
    const ended = sandbox.wait(60_000, deadline());
    // Longer than the idle timeout, by the same clock.
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal(sandbox.state, 'running');
    stream.destroy();
    assert.deepEqual(await ended, { kind: 'idle-timeout' });
  });

  it('breaks when the server lets go of its sandboxes; the next one connects again', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    await serve(sandbox, 'exec cat');
    const failed = failure(await connect(sandbox));
    await using next = await domain.restart();
    assert.equal(await failed, 'unavailable');
    const stream = await connect(next.manager.get(sandbox.id));
    stream.end('again');
    assert.equal(await text(stream), 'again');
  });
});

describe('connections over an agent that lies', () => {
  const open = () => {
    let held = 0;
    const ports = new PortConnections(() => {
      held++;
      return () => held--;
    });
    return { ports, held: () => held };
  };

  it('are none once they broke, however soon', async () => {
    const { ports, held } = open();
    const { client } = lyingAgent(hello, connected, frame(0x77));
    await assert.rejects(ports.connect(client, PORT, deadline()), { code: 'internal' });
    assert.deepEqual([ports.open, held()], [0, 0]);
  });

  it('are bounded here, too', async () => {
    const { ports, held } = open();
    const { client } = lyingAgent(hello, connected);
    const connect = () => ports.connect(client, PORT, deadline());
    const streams = await Promise.all(Array.from({ length: 512 }, connect));
    await assert.rejects(connect(), { code: 'resource-exhausted', message: /^512 connections/ });
    const [first] = streams.splice(0, 1);
    assert.ok(first);
    first.destroy();
    await once(first, 'close');
    streams.push(await connect());
    assert.deepEqual([ports.open, held()], [512, 512]);
    for (const stream of streams) stream.destroy();
    await eventually(() => held() === 0);
  });
});
