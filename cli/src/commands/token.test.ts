import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeQuotas } from '../quotas.ts';
import { describeToken } from './token.ts';

const made = { secret: 'ak-1:as-2', fingerprint: 'sha256:ab', known: false };

test('a new token comes with the command line for the other machine', () => {
  const url = 'https://192.0.2.7:7423';
  assert.match(
    describeToken({ ...made, url }),
    /^SKERRY_TOKEN=ak-1:as-2 skerry connect https:\/\/192\.0\.2\.7:7423 --fingerprint sha256:ab$/m,
  );
  const known = describeToken({ ...made, url: 'https://lab.example.com:7423', known: true });
  assert.match(known, /^SKERRY_TOKEN=ak-1:as-2 skerry connect https:\/\/lab\.example\.com:7423$/m);
  assert.match(describeToken(made), /listens on this machine only.*--host 0\.0\.0\.0/);
});

test('quotas are listed with what is taken of them', () => {
  const taken = { sandboxes: 2, milliCpu: 1500, memoryMiB: 512, diskMiB: 4096 };
  const quotas = { maxSandboxes: 5, maxMilliCpu: 4000, createsPerMinute: 6 };
  assert.equal(describeQuotas({ quotas, taken }), '2/5 sandboxes, 1.5/4 CPU, 6 creates a minute');
  assert.equal(describeQuotas({ quotas: {}, taken }), '-');
});
