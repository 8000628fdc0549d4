import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { namesOf, parseIgnore, pathMatches } from './path-pattern.ts';

describe('patterns of paths', () => {
  it('`*` stays within a name, `**` does not', () => {
    const matches = (pattern: string, path: string) => pathMatches(namesOf(pattern), namesOf(path));
    for (const [pattern, path] of [
      ['*.md', 'a.md'],
      ['**/*.md', 'a.md'],
      ['**/*.md', 'a/b/c.md'],
      ['a/**', 'a/b/c'],
      ['a/**/c', 'a/c'],
      ['./a/../b', 'b'],
      ['/a', 'a'],
      ['[a-c]?', 'bx'],
    ] as const)
      assert.ok(matches(pattern, path), `${pattern} ${path}`);
    for (const [pattern, path] of [
      ['*.md', 'a/b.md'],
      ['a/*/c', 'a/c'],
      ['a', 'a/b'],
      ['a/b', 'a'],
      ['', 'a'],
    ] as const)
      assert.ok(!matches(pattern, path), `${pattern} ${path}`);
    assert.ok(!matches('**/a/'.repeat(200), `${'a/b/'.repeat(500)}c`));
  });

  it('the last line that means a path decides, and comments and blank lines mean none', () => {
    const ignores = parseIgnore(
      '\uFEFF# *.ts\r\n\r\n*.log\n!keep.log\n  node_modules  \ndocs/**/*.md\n!docs/README.md\n**/*.key\n! odd\n/abs\n',
    );
    const left = ['a.log', 'node_modules/x/y', 'docs/a/b.md', 'docs/c.md', 'deep/er/x.key', 'abs'];
    const kept = ['a.ts', 'keep.log', 'sub/a.log', 'docs/README.md', 'my/node_modules/x', 'sub/abs'];
    assert.deepEqual([...left, ...kept].filter(ignores), left);
    const but = parseIgnore('*\n!src\nsrc/**/test\n!src/a/test/keep');
    assert.deepEqual(['a', 'src/x', 'src/a/test/x', 'src/a/test/keep'].filter(but), ['a', 'src/a/test/x']);
  });
});
