// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are Dockerfile variables
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandWord } from './expand.ts';
import { globMatches } from './glob.ts';

const env: Record<string, string> = { A: 'one', EMPTY: '', P: '/a/b/c.tar.gz' };
const lookup = (name: string) => (Object.hasOwn(env, name) ? env[name] : undefined);

test('words expand as in BuildKit', () => {
  const cases: [word: string, expected: string][] = [
    ['$A', 'one'],
    ['${A}x$A', 'onexone'],
    ['$Ax', ''],
    ['\\$A', '$A'],
    ["'$A'", '$A'],
    ['"$A b"', 'one b'],
    ['"\\$A \\" \\n"', '$A " \\n'],
    ['a\\ b', 'a b'],
    ["'it'\"'\"'s'", "it's"],
    ['${NONE:-d$A}', 'done'],
    ['${EMPTY:-d}', 'd'],
    ['${EMPTY-d}', ''],
    ['${NONE-d}', 'd'],
    ['${A:+yes}', 'yes'],
    ['${EMPTY:+yes}', ''],
    ['${EMPTY+yes}', 'yes'],
    ['${NONE:-"a b"}', 'a b'],
    ['${A?needed}', 'one'],
    ['${P#*/}', 'a/b/c.tar.gz'],
    ['${P##*/}', 'c.tar.gz'],
    ['${P%.*}', '/a/b/c.tar'],
    ['${P%%.*}', '/a/b/c'],
    ['${P#/\\*}', '/a/b/c.tar.gz'],
    ['${P/a*b/x}', '/x/c.tar.gz'],
    ['${P/c?t/"x y"$A}', '/a/b/x yonear.gz'],
    ['${P//[./]/}', '/a/b/c.tar.gz'],
    ['${P//\\//:}', ':a:b:c.tar.gz'],
    ['${P/\\*/x}', '/a/b/c.tar.gz'],
    ['${NONE/a/b}', ''],
    ['$', '$'],
    ['100%', '100%'],
    ['a$(b)', 'a$(b)'],
  ];
  for (const [word, expected] of cases) assert.equal(expandWord(word, lookup, '\\'), expected, word);
});

test('a different escape character leaves backslashes alone', () => {
  assert.equal(expandWord('c:\\$A`$A', lookup, '`'), 'c:\\one$A');
});

test('the text of a here-document keeps its quotes, not its escapes', () => {
  const text = `"$A" '\${A}' \\$A \\\\ \${NONE:-"d"} $(x)\n`;
  assert.equal(expandWord(text, lookup, '\\', 'text'), `"one" 'one' $A \\ "d" $(x)\n`);
});

test('broken words are refused', () => {
  for (const word of [
    "'a",
    '"a',
    '${A',
    '${',
    '${A:=x}',
    '${A/x}',
    '${A/x/y',
    '${NONE:?give it}',
    '${NONE?}',
  ]) {
    assert.throws(() => expandWord(word, lookup, '\\'), { code: 'invalid-argument' }, word);
  }
});

test('an expansion cannot grow without bound', () => {
  const big = 'x'.repeat(600_000);
  assert.throws(() => expandWord('$B$B', () => big, '\\'), /longer than 1 MiB/);
});

test('globs', () => {
  const cases: [pattern: string, text: string, expected: boolean][] = [
    ['*.py', 'a.py', true],
    ['*.py', 'a.pyc', false],
    ['?a*', 'xab', true],
    ['[a-c]x', 'bx', true],
    ['[^a-c]x', 'bx', false],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['[', '[', true],
    [`${'*a'.repeat(40)}b`, 'a'.repeat(200), false],
  ];
  for (const [pattern, text, expected] of cases) assert.equal(globMatches(pattern, text), expected, pattern);
});
