import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeEvent, readEvents } from './network-events.ts';

describe('events of a network', () => {
  it('are read from the lines of the proxy, and told in words', () => {
    const lines = [
      '1 tls a.test open 192.0.2.1',
      '2 http a.test over 192.0.2.1 5 7',
      '3 question b.test not-allowed',
      '4 tls - unclear',
      '5 tls c.test not-allowed',
      '6 tls a.test unreachable',
    ];
    const events = readEvents(`${lines.join('\n')}\n`);
    assert.deepEqual(events[1], {
      timeMs: 2,
      by: 'http',
      name: 'a.test',
      outcome: { kind: 'over', address: '192.0.2.1', sent: 5, received: 7 },
    });
    assert.deepEqual(events.map(describeEvent), [
      'Network: allowed tls a.test at 192.0.2.1:443.',
      'Network: ended http a.test at 192.0.2.1:80, 5 bytes sent, 7 received.',
      'Network: refused question for b.test.',
      'Network: refused tls: it does not clearly say which host it is for.',
      'Network: refused tls c.test: not allowed.',
      'Network: failed tls a.test: it cannot be reached.',
    ]);
    const [lost] = readEvents('lost 3\n');
    assert.equal(lost && describeEvent(lost), 'Network: 3 more events, for which there was no room.');
  });

  it('are told in words where the kernel counted them', () => {
    const [tcp, address] = [{ protocol: 6, places: 1 }, '192.0.2.1'];
    const refused = { kind: 'refused' } as const;
    const over = { kind: 'over', sent: 5, received: 7 } as const;
    const events = [
      { timeMs: 1, to: { ...tcp, address, port: 80, name: 'a.test' }, outcome: { kind: 'open' } },
      { timeMs: 1, to: { ...tcp, address, port: 80, name: 'a.test' }, outcome: over },
      { timeMs: 1, to: { protocol: 47, address, places: 1 }, outcome: refused },
      { timeMs: 1, to: { ...tcp, address, places: 9 }, outcome: refused },
      { timeMs: 1, to: { protocol: 17, port: 53, places: 9 }, outcome: refused },
      { timeMs: 1, packets: 4 },
    ] as const;
    assert.deepEqual(events.map(describeEvent), [
      'Network: allowed tcp a.test at 192.0.2.1:80.',
      'Network: ended tcp a.test at 192.0.2.1:80, 5 bytes sent, 7 received.',
      'Network: refused protocol 47 192.0.2.1.',
      'Network: refused tcp 192.0.2.1, 9 ports.',
      'Network: refused udp port 53, 9 addresses.',
      'Network: 4 more packets, to places for which there was no room.',
    ]);
  });

  it('are nothing else', () => {
    for (const line of [
      '',
      'x tls a.test open 192.0.2.1',
      '1 tls A.test open 192.0.2.1',
      '1 tls a.test open 300.0.2.1',
      '1 tls a.test open',
      '1 tls a.test over 192.0.2.1 5',
      '1 ftp a.test open 192.0.2.1',
      '1 tls a.test\u001b[2J open 192.0.2.1',
      'lost many',
    ]) {
      assert.deepEqual(readEvents(line), [], line);
    }
  });
});
