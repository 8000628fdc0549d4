import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ImageId } from '../../ids.ts';
import { BuildLogs } from '../build-log.ts';
import { StageLogs } from './stage-log.ts';

test('a stage speaks in its turn, or when it has too much to say; nothing is lost', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-stage-log-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const id = 'im-1' as ImageId;
  const kept = new BuildLogs(directory, () => 0);
  const logs = new StageLogs(kept.start(id, ['s3cret']), 4);
  const texts = () => kept.soFar(id).map(({ text }) => text.slice(0, 20));
  logs.of(1).say('second');
  const output = logs.of(1).output('stdout');
  output.write(Buffer.from('printed s3cret\n'));
  output.end();
  logs.of(3).say('fourth');
  logs.of(0).say('first');
  assert.deepEqual(texts(), ['first\n']);
  // One that ends before its turn comes after those before it all the same.
  logs.end(1);
  assert.deepEqual(texts(), ['first\n']);
  logs.end(0);
  assert.deepEqual(texts(), ['first\n', 'second\n', 'printed ***\n']);
  const much = logs.of(3).output('stdout');
  const line = Buffer.from(`${'x'.repeat(999)}\n`);
  for (let written = 0; written <= 4 << 20; written += line.length) much.write(line);
  assert.deepEqual(texts().slice(3, 5), ['fourth\n', 'x'.repeat(20)]);
  logs.of(2).say('third');
  logs.endAll();
  assert.equal(texts().at(-1), 'third\n');
  assert.equal(texts().length, 3 + 1 + Math.ceil(((4 << 20) + 1) / line.length) + 1);
});
