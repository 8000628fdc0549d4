/** The part of the conformance suite about streams to ports of an instance: its agent makes them, over channels that `dial` gives. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { addAbortSignal, type Duplex } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { describe, it } from 'node:test';
import { AgentClient } from '../../agent/agent-client.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import { delay } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Instance } from '../engine.ts';
import { type EngineSuite, limits, signal } from './engine-suite.ts';
import { shell } from './guest.ts';

const MIB = 2 ** 20;
const PORT = 5100;
const POLL_MS = 5;
/** Each connection gets a program of its own. An interrupted wait, which gVisor has, ends this server: then there is another. */
const serve = (instance: Instance, program: string, port = PORT) =>
  shell(instance, `(while :; do nc -ll -p ${port} -e ${program}; done) >/dev/null 2>&1 &`);
/** Loopback or another address, and only that one. */
const serveOn = (instance: Instance, address: string, port = PORT) =>
  shell(instance, `httpd -p ${address}:${port} -h /data`);

const agentOf = (instance: Instance) =>
  new AgentClient((abort) => instance.dial(abort), createLogger('silent'));

/** Connects at once, or with `patience` as soon as there is a server. */
async function connect(instance: Instance, patience = true, port = PORT): Promise<Duplex> {
  for (const deadline = signal(); ; ) {
    try {
      return addAbortSignal(signal(), await agentOf(instance).connect(port, deadline));
    } catch (error) {
      const refused = error instanceof SkerryError && error.code === 'connection-refused';
      if (!patience || !refused) throw error;
      await delay(POLL_MS, deadline);
    }
  }
}

async function text(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const failure = (stream: Duplex) => finished(stream.resume()).catch((error) => error.code);

async function fetchFile(instance: Instance): Promise<string> {
  const stream = await connect(instance);
  stream.end('GET /lower.txt HTTP/1.0\r\n\r\n');
  return (await text(stream)).split('\r\n\r\n')[1] ?? '';
}

/** The cases, for `engineConformance`. */
export function enginePorts(suite: () => EngineSuite): void {
  const using = (use: (instance: Instance) => Promise<void>) => suite().using({}, use);

  describe('a stream to a port', { timeout: 120_000 }, () => {
    for (const [where, address] of [
      ['the loopback', '127.0.0.1'],
      ['the loopback of IPv6', '[::1]'],
      ['the address that its hostname means', '$(hostname -i)'],
    ] as const) {
      it(`reaches a server on ${where} alone`, () =>
        using(async (instance) => {
          await serveOn(instance, address);
          assert.equal(await fetchFile(instance), 'lower\n');
        }));
    }

    it('tells that nothing listens', () =>
      using(async (instance) => {
        await assert.rejects(connect(instance, false), {
          code: 'connection-refused',
          message: `Nothing in the sandbox listens on port ${PORT}`,
        });
      }));

    it('half-closes both ways', () =>
      using(async (instance) => {
        await serve(instance, "sh -c 'cat; echo over'");
        const asking = await connect(instance);
        asking.end('question ');
        assert.equal(await text(asking), 'question over\n');
        // This one says all it has to say, ends its own direction and goes on reading.
        await shell(instance, `(echo bye | nc -l -p ${PORT + 1} > /tmp/heard) >/dev/null 2>&1 &`);
        const listening = await connect(instance, true, PORT + 1);
        assert.equal(await text(listening), 'bye\n');
        listening.end('still heard');
        await shell(instance, 'until [ "$(cat /tmp/heard)" = "still heard" ]; do :; done');
      }));

    it('carries 50 MB both ways', () =>
      using(async (instance) => {
        await serve(instance, 'cat');
        const stream = await connect(instance);
        const sent = Array.from({ length: 50 }, () => randomBytes(MIB));
        const [forth, back] = [createHash('sha256'), createHash('sha256')];
        for (const chunk of sent) forth.update(chunk);
        const reading = (async () => {
          for await (const chunk of stream) back.update(chunk);
        })();
        await Promise.all([pipeline(sent, stream), reading]);
        assert.equal(back.digest('hex'), forth.digest('hex'));
      }));

    it('is one of 100 at once', () =>
      // Each has a process at the other end.
      suite().using({ limits: { ...limits, pids: 1000 } }, async (instance) => {
        await serve(instance, 'cat');
        const streams: Duplex[] = [];
        // The server's queue is short: it is not filled, but none is let go of either.
        for (let count = 0; count < 100; count++) streams.push(await connect(instance));
        for (const [index, stream] of streams.entries()) stream.end(`${index} `.repeat(1000));
        const echoes = await Promise.all(streams.map(text));
        const wrong = echoes.flatMap((echo, index) => (echo === `${index} `.repeat(1000) ? [] : [index]));
        assert.deepEqual(wrong, []);
      }));

    it('that is stuck holds up nothing else', () =>
      using(async (instance) => {
        await serve(instance, 'cat /dev/zero');
        await serve(instance, 'sleep 1000', PORT + 1);
        const openFiles = async () => (await agentOf(instance).stats(signal())).openFiles;
        const before = await openFiles();
        const [pouring, deaf] = [await connect(instance), await connect(instance, true, PORT + 1)];
        for (let filled = false; !filled; ) filled = !deaf.write(Buffer.alloc(MIB));
        assert.equal(await shell(instance, 'echo fine'), 'fine');
        await serveOn(instance, '127.0.0.1', PORT + 2);
        const other = await connect(instance, true, PORT + 2);
        other.end('GET /lower.txt HTTP/1.0\r\n\r\n');
        assert.match(await text(other), /lower\n$/);
        for (const stream of [pouring, deaf]) stream.destroy();
        for (const deadline = signal(); (await openFiles()) > before; ) deadline.throwIfAborted();
      }));

    it('ends what serves it when it is given up, though it is stuck', () =>
      using(async (instance) => {
        await serve(instance, 'cat /dev/zero');
        const stream = await connect(instance);
        await shell(instance, 'until pidof cat; do :; done');
        stream.destroy();
        await shell(instance, 'while pidof cat; do :; done');
      }));

    it('breaks when its instance ends, and when the server does; the next one connects again', () =>
      using(async (instance) => {
        await serve(instance, 'cat');
        const lost = failure(await connect(instance));
        await suite().harness.restart();
        suite().live.delete(instance);
        assert.equal(await lost, 'unavailable');
        const { instances } = await suite().harness.engine.adopt(new Set([instance.id]));
        const again = instances.get(instance.id);
        assert.ok(again);
        const stream = await connect(again);
        stream.write('hello');
        for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
          assert.equal(String(chunk), 'hello');
          break;
        }
        const ended = failure(stream);
        await suite().destroy(again);
        assert.equal(await ended, 'unavailable');
        await assert.rejects(connect(again), { code: 'sandbox-ended' });
      }));

    it('reaches what serves in a sidecar, and from a sidecar what serves beside it', (t) => {
      if (!suite().capabilities.joins) return t.skip('cannot join another');
      return using(async (main) => {
        await suite().using({ joins: main.id }, async (sidecar) => {
          await serveOn(sidecar, '127.0.0.1');
          assert.equal(await fetchFile(main), 'lower\n');
          assert.equal(await fetchFile(sidecar), 'lower\n');
          await serveOn(main, '127.0.0.1', PORT + 1);
          (await connect(sidecar, true, PORT + 1)).destroy();
        });
      });
    });
  });
}
