import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Redactor } from './redactor.ts';

const pieces = (redactor: Redactor, ...texts: string[]): string[] => {
  const stream = redactor.stream();
  return [...texts.map((text) => stream.write(text)), stream.end()];
};

test('a value is hidden wherever it is cut, and text that only began like one comes out', () => {
  const redactor = new Redactor(['hunter2-and-more']);
  assert.deepEqual(pieces(redactor, 'key: hunter2-', 'and-more\n'), ['key: ', '***\n', '']);
  assert.deepEqual(pieces(redactor, 'a hunter2-', 'and-', 'less'), ['a ', '', 'hunter2-and-less', '']);
  assert.deepEqual(pieces(redactor, 'hunter2-and-mor'), ['', 'hunter2-and-mor']);
  assert.equal(redactor.redact('hunter2-and-morehunter2-and-more'), '******');
});

test('a value of several lines is hidden with its lines, as terminals, JSON and editors print it', () => {
  const value = '-----BEGIN KEY-----\nabcd1234\nef\n-----END KEY-----\n';
  const redactor = new Redactor([value]);
  assert.equal(redactor.redact(`<${value}>`), '<***>');
  assert.equal(redactor.redact(`<${value.trim()}>`), '<***>');
  assert.equal(redactor.redact(`<${value.replaceAll('\n', '\r\n')}>`), '<***>');
  assert.equal(redactor.redact(JSON.stringify({ value })), '{"value":"***"}');
  assert.equal(redactor.redact('  2 abcd1234\n  3 ef\n'), '  2 ***\n  3 ef\n');
  assert.equal(new Redactor(['abcd\nefgh']).redact('abcd\nefgh abcd'), '*** abcd');
  assert.equal(new Redactor(['abc', '']).redact('abc'), 'abc', 'too short to hide');
});

test('what is released early shows no more than the three first characters of a value', () => {
  const stream = new Redactor(['hunter2-and-more']).stream();
  assert.equal(stream.write('to hun'), 'to ');
  assert.equal(stream.heldFrom, 3);
  assert.equal(stream.release(), 'hun');
  assert.equal(stream.heldFrom, undefined);
  assert.equal(stream.write('ter2-'), '');
  assert.equal(stream.release(), '***');
  assert.equal(stream.write('and-more, hunting'), ', hunting');
  assert.equal(stream.write(', hunter'), ', ');
  assert.equal(stream.release(), '***');
  assert.equal(stream.write(' gathers'), ' gathers');
});

test('text that was released, and what comes after a hidden rest, are not read together', () => {
  const stream = new Redactor(['aa-b', 'b-ab', '-aa-']).stream();
  assert.equal(stream.write('aa-b-a'), '***');
  assert.equal(stream.release(), '-a');
  assert.equal(stream.write('ba-'), '***a');
  assert.equal(stream.release(), '-');
});

// Few letters, so that values overlap themselves and each other in every way.
const letters = (sizes: { minLength: number; maxLength: number }) =>
  fc.string({ unit: fc.constantFrom('a', 'b', '\n'), ...sizes });
const values = fc.array(letters({ minLength: 4, maxLength: 7 }), { minLength: 1, maxLength: 4 });
const texts = fc.array(letters({ minLength: 0, maxLength: 9 }), { maxLength: 12 });

/** The text with every character of every value as a dot. */
function covered(text: string, words: readonly string[]): string {
  const result = [...text];
  for (const word of words) {
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1))
      result.fill('.', at, at + word.length);
  }
  return result.join('');
}

test('however the text is cut, the same comes out: all of it but the values', () => {
  fc.assert(
    fc.property(values, texts, (words, parts) => {
      const redactor = new Redactor(words);
      const text = parts.join('');
      const out = pieces(redactor, ...parts).join('');
      assert.equal(out, redactor.redact(text));
      for (const word of words) assert.equal(out.includes(word), false, 'no value comes out');
      const trimmed = words.map((word) => word.trim()).filter((word) => word.length >= 4);
      const crlf = words.map((word) => word.replaceAll('\n', '\r\n'));
      const expected = covered(text, [...words, ...trimmed, ...crlf]);
      // Values side by side have a mark each: marks of one run are compared as one.
      assert.equal(out.replaceAll(/(\*\*\*)+/g, '*'), expected.replaceAll(/\.+/g, '*'));
    }),
    { numRuns: 3000 },
  );
});

test('whatever is released in between, no value comes out; no more is held than a value may go on', () => {
  const steps = fc.array(fc.oneof(letters({ minLength: 0, maxLength: 9 }), fc.constant(undefined)), {
    maxLength: 16,
  });
  fc.assert(
    fc.property(values, steps, (words, parts) => {
      const longest = Math.max(...words.map((word) => word.replaceAll('\n', '\r\n').length));
      const stream = new Redactor(words).stream();
      let text = '';
      let out = '';
      for (const part of parts) {
        out += part === undefined ? stream.release() : stream.write(part);
        text += part ?? '';
        const held = stream.heldFrom === undefined ? 0 : text.length - stream.heldFrom;
        assert.ok(held < (part === undefined ? 1 : longest), `${held} are held`);
      }
      out += stream.end();
      for (const word of words) assert.equal(out.includes(word), false);
      // Every letter of the output is one of the text, in its order.
      let at = 0;
      for (const letter of out.replaceAll('*', '')) at = text.indexOf(letter, at) + 1 || assert.fail();
    }),
    { numRuns: 3000 },
  );
});
