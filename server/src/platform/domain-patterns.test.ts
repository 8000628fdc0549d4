import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { domainPattern } from './domain-patterns.ts';

describe('patterns of domains', () => {
  it('are names, names below one, and all names', () => {
    assert.equal(domainPattern('Example.COM'), 'example.com');
    assert.equal(domainPattern('*.Example.com'), '*.example.com');
    assert.equal(domainPattern('*'), '*');
    assert.equal(domainPattern('xn--bcher-kva.example'), 'xn--bcher-kva.example');
  });

  it('are nothing else', () => {
    for (const bad of [
      '',
      'localhost',
      '*.com',
      '1.2.3.4',
      '*.1.2.3',
      '::1',
      'https://example.com',
      'example.com/x',
      'example.com:443',
      'example.com.',
      '.example.com',
      'a..b',
      'x*.example.com',
      'a.*.example.com',
      '*.*.example.com',
      '-a.example',
      'a-.example',
      'a b.example',
      'example.com\nevil.test',
      'bücher.example',
      `${'a'.repeat(64)}.example`,
      `${'a.'.repeat(126)}ab`,
    ]) {
      assert.equal(domainPattern(bad), undefined, bad);
    }
  });
});
