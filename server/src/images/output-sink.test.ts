import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Redactor } from '../secrets/redactor.ts';
import { OutputSink } from './output-sink.ts';

function open(t: TestContext, secret: string) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lines: string[] = [];
  const sink = new OutputSink((text) => lines.push(text), new Redactor([secret]).stream(), 1000);
  return { sink, lines, write: (text: string) => sink.write(Buffer.from(text)) };
}

test('lines come out as they come, but for what may be the beginning of a secret; that waits for the rest', (t) => {
  const { sink, lines, write } = open(t, 'first line\nsecond line');
  write('one\ntwo\nfirst ');
  write('line\n');
  assert.deepEqual(lines, ['one\ntwo\n']);
  t.mock.timers.tick(999);
  write('second ');
  t.mock.timers.tick(0);
  write('line\nthree\nfour');
  assert.deepEqual(lines.slice(1), ['***\nthree\n']);
  sink.end();
  assert.deepEqual(lines.slice(2), ['four']);
  assert.equal(sink.tail, 'one\ntwo\n***\nthree\nfour');
});

test('nothing waits for ever, and a secret whose rest comes too late is hidden all the same', (t) => {
  const { lines, write } = open(t, 'first line\nsecond line');
  write('first line\n');
  t.mock.timers.tick(1000);
  write('second line\n');
  assert.deepEqual(lines.join(''), '***\n');
  write('first line\n');
  write('third line\n');
  assert.deepEqual(lines.join(''), '***\n***\nthird line\n', 'a line of a secret is one too');
  write('fir\n');
  assert.equal(lines.at(-1), 'fir\n');
});

test('the time runs from when the text was held, not from the last write', (t) => {
  const { lines, write } = open(t, 'aaaaaaaa\nb');
  write('x\n');
  for (const piece of ['aaa', 'aaa', 'aa', '\n']) {
    t.mock.timers.tick(300);
    write(piece);
  }
  assert.deepEqual(lines, ['x\n']);
  t.mock.timers.tick(100);
  write('\n');
  assert.deepEqual(lines.join(''), 'x\n***\n', 'what was hidden had a line end in it');
});
