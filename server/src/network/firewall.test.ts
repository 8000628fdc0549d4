import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { run } from '../platform/command.ts';
import { parseCidr } from './cidr.ts';
import { type FirewallMember, renderAdd, renderRemove, renderTable } from './firewall.ts';
import { AddressPlan } from './subnet.ts';

const options = {
  table: 'skerry_0badcafe',
  interfacePrefix: 'sk0badcafe',
  egressInterface: 'sk0badcafe1zz',
  plan: new AddressPlan(parseCidr('10.222.0.0/20')),
  allowPrivate: ['10.1.0.0/16', '10.1.2.0/24'],
};
const member = (policy: FirewallMember['policy'], hostInterface = 'sk0badcafe1'): FirewallMember => ({
  hostInterface,
  hostAddress: '10.222.0.2',
  address: '10.222.0.3',
  addressing: 'constant',
  policy,
});
const named = member({ kind: 'allowlist', cidrs: ['1.2.3.4'], domains: ['*.example.com'] }, 'sk0badcafe4');
const secured = member({ kind: 'open', headers: 'sealed' }, 'sk0badcafe5');
const allow = member({ kind: 'allowlist', cidrs: ['1.2.3.4', '1.2.3.0/24', '0.0.0.0/1'] }, 'sk0badcafe2');

describe('firewall rules', () => {
  it('are in maps for open and listed members, in none for blocked ones', () => {
    assert.match(renderAdd('t', member({ kind: 'open' })), /outbound \{ "sk0badcafe1" : goto to_open \}/);
    assert.match(renderAdd('t', allow), /listed \{ "sk0badcafe2" \. 0\.0\.0\.0\/1 \}/);
    assert.equal(
      renderAdd('t', member({ kind: 'blocked' })),
      'add element inet t guests { "sk0badcafe1" . 10.222.0.3 }',
    );
  });

  it('lead who may reach domains to the proxy, and keep the resolver from it', () => {
    const lines = renderAdd('t', named);
    assert.match(lines, /proxied \{ "sk0badcafe4" \}/);
    assert.match(lines, /listed \{ "sk0badcafe4" \. 1\.2\.3\.4\/32 \}/);
    assert.doesNotMatch(lines, /resolving/);
  });

  it('lead who has secret headers to the proxy for TLS alone', () => {
    const lines = renderAdd('t', secured);
    assert.match(lines, /secured \{ "sk0badcafe5" \}/);
    assert.match(lines, /resolving \{ "sk0badcafe5" \}/);
    assert.match(lines, /outbound \{ "sk0badcafe5" : goto to_secured_open \}/);
    assert.doesNotMatch(lines, /proxied|sealed/);
    const ranges = renderAdd('t', { ...allow, policy: { ...allow.policy, headers: 'sealed' } });
    assert.match(ranges, /outbound \{ "sk0badcafe2" : goto to_secured_listed \}/);
    assert.match(ranges, /secured \{ "sk0badcafe2" \}/);
  });

  it('refuse values that are not what they should be', () => {
    assert.throws(() => renderAdd('t', member({ kind: 'allowlist', cidrs: ['1.1.1.1 }; flush ruleset'] })), {
      code: 'invalid-argument',
    });
    assert.throws(() => renderAdd('t', member({ kind: 'open' }, 'x"; flush')), TypeError);
    assert.throws(() => renderAdd('t', member({ kind: 'allowlist', cidrs: Array(1001).fill('1.1.1.1') })), {
      code: 'invalid-argument',
    });
  });

  it('are accepted by nft, added and removed again', {
    skip: process.getuid?.() === 0 ? false : 'needs root',
  }, async () => {
    const members = [
      member({ kind: 'open' }),
      allow,
      named,
      secured,
      member({ kind: 'blocked' }, 'sk0badcafe3'),
    ];
    const script = [
      renderTable(options, []),
      ...members.map((m) => renderAdd(options.table, m)),
      ...members.map((m) => renderRemove(options.table, m)),
    ].join('\n');
    await run(['nft', '--check', '-f', '-'], { input: `${script}\n` });
    await run(['nft', '--check', '-f', '-'], { input: renderTable(options, members) });
  });
});
