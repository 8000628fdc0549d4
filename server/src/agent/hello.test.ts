import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { AgentClient } from './agent-client.ts';
import { FrameDecoder } from './frames.ts';
import { FEATURES, meet, meetAgain, requireFeature, VERSIONS } from './hello.ts';
import { frame, lyingAgent } from './testing/lying-agent.ts';

const agentFile = (name: string): string =>
  readFileSync(new URL(`../../../agent/${name}`, import.meta.url), 'utf8');

const hello = (said: object) => meet(JSON.stringify({ pid: 1, ...said }), { oldest: 3, newest: 5 });

describe('HELLO', () => {
  test('both go on in the highest version that both speak', () => {
    for (const [version, maxVersion, common] of [
      [3, 5, 5],
      [1, 4, 4],
      [5, 9, 5],
      [4, 4, 4],
      [1, 65_535, 5],
      [3, undefined, 3],
    ]) {
      assert.equal(hello({ version, maxVersion }).version, common, `${version} to ${maxVersion}`);
    }
  });

  test('without a common version the error names both ranges', () => {
    for (const [said, its] of [
      [{ version: 7, maxVersion: 9 }, 'versions 7 to 9'],
      [{ version: 1, maxVersion: 2 }, 'versions 1 to 2'],
      [{ version: 1 }, 'version 1'],
    ] as const) {
      const message = `The sandbox's agent speaks ${its} of the agent protocol, and this server versions 3 to 5.`;
      assert.throws(() => hello(said), { code: 'unimplemented', message });
    }
  });

  test('an agent from before ranges is taken, and has no features', () => {
    const peer = meet('{"version":1,"pid":7}');
    assert.deepEqual([peer.version, peer.features], [1, new Set()]);
    const message = /of an older version, which cannot connect to a port/;
    assert.throws(() => requireFeature(peer, 'dial'), { code: 'unimplemented', message });
  });

  test('who says something else than before is met anew, and not believed for what it said then', () => {
    const meets = meetAgain();
    const said = '{"version":1,"features":["dial"],"pid":7}';
    assert.equal(meets(said), meets(said));
    assert.deepEqual(meets('{"version":1,"pid":7}').features, new Set());
    assert.throws(() => meets('{"version":0,"pid":7}'), { code: 'internal' });
    requireFeature(meets(said), 'dial');
  });

  test('words that this server does not know are ignored', () => {
    const features = ['dial', 'from-the-future', '0'];
    const peer = meet(JSON.stringify({ version: 1, maxVersion: 9, features, later: [{}], pid: 1 }));
    assert.equal(peer.version, 1);
    requireFeature(peer, 'dial');
    const many = Array.from({ length: 32 }, (_, index) => `feature-${index}`);
    assert.equal(hello({ version: 3, features: many }).features.size, 32);
  });

  test('what is out of bounds is no HELLO', () => {
    const lies = [
      { version: 5, maxVersion: 3 },
      { version: 0 },
      { version: -1, maxVersion: 5 },
      { version: 1.5 },
      { version: 1e300, maxVersion: 1e301 },
      { version: '3' },
      { version: 3, maxVersion: 65_536 },
      { version: 3, maxVersion: null },
      { version: 3, features: Array(33).fill('x') },
      { version: 3, features: ['x'.repeat(25)] },
      { version: 3, features: [''] },
      { version: 3, features: ['é'] },
      { version: 3, features: ['a\nb'] },
      { version: 3, features: [['dial']] },
      { version: 3, features: 'dial' },
      { version: 3, features: { 0: 'dial', length: 1 } },
      { version: 3, pid: 0 },
      {},
    ];
    const malformed = { code: 'internal', message: /HELLO is malformed/ };
    for (const lie of lies) assert.throws(() => hello(lie), malformed, JSON.stringify(lie));
    for (const text of ['', '[]', 'null', '7', '{"version":1', '['.repeat(1000)]) {
      assert.throws(() => meet(text), malformed, text.slice(0, 20));
    }
  });

  test('versions and features are the same in the agent, in its protocol and here', () => {
    const source = agentFile('src/version.rs');
    const { oldest, newest } = VERSIONS;
    assert.match(source, new RegExp(`VERSIONS: RangeInclusive<u32> = ${oldest}..=${newest};`));
    const inAgent = /FEATURES: .* = \[(.*)\];/.exec(source)?.[1]?.split(', ');
    assert.deepEqual(
      inAgent,
      FEATURES.map((feature) => `"${feature}"`),
    );
    const table = /\| feature \|[^\n]*\n[^\n]*\n((?:\|[^\n]*\n)+)/.exec(agentFile('PROTOCOL.md'))?.[1] ?? '';
    assert.deepEqual(
      [...table.matchAll(/^\| `([a-z0-9-]+)`/gm)].map(([, word]) => word),
      FEATURES,
    );
  });
});

describe('a client', () => {
  const said = (payload: Buffer | string, length?: number) => frame(0x01, payload, length);
  const signal = () => AbortSignal.timeout(10_000);

  const calls = (client: AgentClient) => [
    () => client.stats(signal()),
    () => client.list(signal()),
    () => client.connect(80, signal()),
  ];

  test('asks nothing of an agent it shares no version with, and hangs in no call', async () => {
    const { client, told, ours } = lyingAgent(said('{"version":7,"maxVersion":9,"pid":1}'));
    for (const call of calls(client)) {
      await assert.rejects(call(), { code: 'unimplemented', message: /versions 7 to 9 .* server version 1/ });
    }
    assert.deepEqual(told, []);
    assert.equal(ours.length, 3, 'it is not tried again');
    assert.ok(ours.every((connection) => connection.destroyed));
  });

  test('asks for a port only where the agent has them', async () => {
    const { client, told, ours } = lyingAgent(said('{"version":1,"pid":1}'));
    await assert.rejects(client.connect(80, signal()), { code: 'unimplemented', message: /older version/ });
    assert.deepEqual(told, []);
    assert.ok(ours.every((connection) => connection.destroyed));
  });

  test('says in its request in which version it goes on', async () => {
    const { client, told, ours } = lyingAgent(
      said('{"version":1,"maxVersion":4,"features":["dial"],"pid":1}'),
    );
    const ended = calls(client).map((call) => assert.rejects(call(), { code: 'unavailable' }));
    while (told.length < 3) await new Promise(setImmediate);
    const versions = told.map((bytes) => JSON.parse(bytes.subarray(5).toString()).version);
    assert.deepEqual(versions, [1, 1, 1]);
    // Each is tried again, and given up at last.
    const broken = setInterval(() => {
      for (const connection of ours) connection.destroy();
    }, 1);
    await Promise.all(ended);
    clearInterval(broken);
  });

  test('takes no HELLO that is not one, however much there is of it', async () => {
    const features = (count: number, word: string) =>
      said(JSON.stringify({ version: 1, maxVersion: 1, features: Array(count).fill(word), pid: 1 }));
    for (const lie of [
      features(10_000, 'x'),
      features(1, 'x'.repeat(2 ** 20)),
      features(1, 'x'.repeat(900)),
      features(40, 'x'),
      said('', 0xffffffff),
      said(Buffer.from('{"version":1,"pid":1,"\xff":0}', 'latin1')),
      said(Buffer.from('{"version":1,"pid":1,"features":["\xc3"]}', 'latin1')),
      said('{"version":9,"maxVersion":7,"pid":1}'),
      said('{}'),
    ]) {
      const { client, told, ours } = lyingAgent(lie);
      for (const call of calls(client)) {
        await assert.rejects(call(), { code: 'internal', message: /broke the protocol/ });
      }
      assert.deepEqual(told, []);
      assert.ok(ours.every((connection) => connection.destroyed));
    }
  });

  test('refuses a HELLO beyond its bound before it has come', () => {
    const decoder = new FrameDecoder();
    decoder.push(said('', 1025));
    assert.throws(() => decoder.next(), /cannot have 1025 bytes/);
  });
});
