/** The interpreters of `runCode` by themselves: programs of this machine, with a process of its own in the place of a sandbox's. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { CodeContext, type Language, type RunCodeOptions } from './code.ts';
import { linesOf } from './core/lines.ts';
import type { Sandbox } from './sandbox.ts';

/** What kernels use of a sandbox and of its processes, on this machine. */
class LocalSandbox implements Disposable {
  readonly #children: ChildProcess[] = [];

  exec([program = '', ...args]: readonly string[]) {
    const child = spawn(program === 'node' ? process.execPath : program, args, { detached: true });
    this.#children.push(child);
    const ended = once(child, 'close');
    const streamOf = (stream: NodeJS.ReadableStream) => ({
      lines: () => linesOf(stream as AsyncIterable<Uint8Array>),
      [Symbol.asyncIterator]: () => (stream as AsyncIterable<Uint8Array>)[Symbol.asyncIterator](),
    });
    return {
      id: async () => 'id',
      stdin: { write: async (text: string) => void child.stdin.write(text) },
      stdout: streamOf(child.stdout),
      stderr: streamOf(child.stderr),
      kill: async (signal: NodeJS.Signals) => void process.kill(-(child.pid ?? 0), signal),
      wait: async () => ({ exitCode: ((await ended) as [number | null])[0] ?? 137 }),
    };
  }

  [Symbol.dispose](): void {
    for (const { pid, exitCode, signalCode } of this.#children) {
      if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, 'SIGKILL');
    }
  }
}

async function using(
  language: Language,
  body: (run: (code: string, options?: RunCodeOptions) => ReturnType<CodeContext['run']>) => Promise<void>,
): Promise<void> {
  using sandbox = new LocalSandbox();
  // It has all that a context uses of one.
  const context = await CodeContext.start(sandbox as unknown as Sandbox, language);
  await body((code, options) => context.run(code, options));
}

const hangs: readonly [Language, string, string][] = [
  ['python', 'while True: pass', 'KeyboardInterrupt'],
  ['javascript', 'while (true);', 'Interrupted'],
  ['javascript', 'await 1; while (true);', 'Interrupted'],
  ['javascript', 'await new Promise((go) => setTimeout(go, 1)); while (true);', 'Interrupted'],
  ['javascript', 'await new Promise(() => {})', 'Interrupted'],
  ['javascript', 'for (;;) console.log("x".repeat(500))', 'Interrupted'],
  ['bash', 'while :; do :; done', 'ExitStatus'],
  ['bash', 'sleep 60; echo never', 'ExitStatus'],
];

describe('runCode', () => {
  for (const language of ['javascript', 'typescript'] as const) {
    test(`${language} keeps its variables, awaits at the top, and imports as modules do`, () =>
      using(language, async (run) => {
        await run('const x = 20; let y = 1; class A {}');
        assert.equal((await run('const x = 21; x * 2')).text, '42');
        assert.equal((await run('await new Promise((go) => setTimeout(() => go(x), 1))')).text, '21');
        const imported = `import fs, { readFileSync as read } from 'fs';
import * as os from "node:os"
import 'node:path';
[typeof fs.readFileSync, typeof read, typeof os.cpus, typeof require, (await import('node:path')).sep]`;
        assert.deepEqual((await run(imported)).results[0]?.json, [
          'function',
          'function',
          'function',
          'function',
          '/',
        ]);
        assert.equal((await run('let unused = 5;')).text, undefined);
      }));
  }

  test('TypeScript loses its types', () =>
    using('typescript', async (run) => {
      assert.equal((await run('interface P { a: number }\nconst p: P = { a: 3 };\np.a as number')).text, '3');
    }));

  test('JavaScript gives rich results', () =>
    using('javascript', async (run) => {
      const { results } = await run(`display(1);
class Shown { [Symbol.for('Jupyter.display')]() { return { 'text/html': '<b>', 'image/svg+xml': '<svg/>' }; } }
display(new Shown());
[{ a: 1, b: 'x' }, { a: 2 }]`);
      assert.deepEqual(
        results.map(({ text, html, svg }) => [text, html, svg]),
        [
          ['1', undefined, undefined],
          ['Shown {}', '<b>', '<svg/>'],
          ["[ { a: 1, b: 'x' }, { a: 2 } ]", undefined, undefined],
        ],
      );
      assert.deepEqual(results[2]?.table, {
        columns: ['a', 'b'],
        rows: [
          [1, 'x'],
          [2, null],
        ],
      });
    }));

  test('failures of JavaScript have their places, and none of ours', () =>
    using('javascript', async (run) => {
      const thrown = await run('function f() {\n  throw new TypeError("bad");\n}\nf()');
      assert.deepEqual([thrown.error?.name, thrown.error?.message], ['TypeError', 'bad']);
      assert.equal(thrown.error?.traceback, 'TypeError: bad\n    at f (cell_1:2:9)\n    at cell_1:4:1');
      const syntax = await run('let z = ;');
      assert.match(syntax.error?.traceback ?? '', /^SyntaxError: Unexpected token ';'\n {4}at cell_2:1:9$/);
      assert.equal((await run('await Promise.reject(new RangeError("later"))')).error?.name, 'RangeError');
      assert.equal((await run('throw "text"')).error?.message, "'text'");
      const timer = await run(
        'setTimeout(() => { throw new Error("in a timer"); }, 1); await new Promise((go) => setTimeout(go, 50)); 6',
      );
      assert.match(timer.stderr, /Unhandled: Error: in a timer/);
      assert.equal(timer.text, '6');
      await assert.rejects(run('process.exit(3)'), /ended with exit code 3/);
    }));

  test('output of programs that JavaScript starts comes with its own', () =>
    using('javascript', async (run) => {
      const sub =
        'require("child_process").execFileSync("sh", ["-c", "printf ü; echo err >&2"], { stdio: "inherit" }); console.log("me")';
      const { stdout, stderr } = await run(sub);
      assert.deepEqual([stdout, stderr], ['üme\n', 'err\n']);
      assert.equal((await run('console.log("x".repeat(300_000))')).stdout.length, 300_001);
    }));

  test('bash keeps variables, functions and the directory', () =>
    using('bash', async (run) => {
      const first = await run('x=20; f() { echo "f $x"; }; cd /tmp; echo "it\'s ü" >&2');
      assert.deepEqual([first.stdout, first.stderr, first.error], ['', "it's ü\n", undefined]);
      assert.equal((await run('f; pwd; cat; printf end')).stdout, 'f 20\n/tmp\nend');
      assert.equal((await run('echo a\nfalse')).error?.message, 'The last command ended with exit code 1.');
      assert.equal((await run('if then')).error?.name, 'ExitStatus');
      assert.equal((await run('echo $x; seq 100000 | tail -1')).stdout, '20\n100000\n');
      await assert.rejects(run('exit 3'), /ended with exit code 3/);
    }));

  test('Python gives lists as JSON, and says what a figure is', () =>
    using('python', async (run) => {
      assert.deepEqual((await run('[1, {"a": None}]')).results[0]?.json, [1, { a: null }]);
      const odd = await run('[float("nan")]');
      assert.deepEqual([odd.text, odd.results[0]?.json], ['[nan]', undefined]);
    }));

  test('figures of matplotlib come as PNG and SVG, data frames as tables', () =>
    using('python', async (run) => {
      // Both libraries are hundreds of megabytes: what is asked of them stands here.
      const { results } = await run(`
import sys, types
class Figure:
    def savefig(self, file, format, **_): file.write(b"png" if format == "png" else "<svg/>")
pyplot = types.SimpleNamespace(get_fignums=lambda: [1], figure=lambda _: Figure(), close=lambda _: None)
sys.modules["matplotlib.pyplot"] = pyplot
class DataFrame:
    def head(self, _): return self
    def to_json(self, **_): return '{"columns": ["a", 2], "index": [0], "data": [[1, "x"]]}'
    def _repr_html_(self): return "<table>"
DataFrame()`);
      assert.deepEqual(results[0]?.table, { columns: ['a', '2'], rows: [[1, 'x']] });
      assert.equal(results[0]?.html, '<table>');
      assert.deepEqual([results[1]?.png, results[1]?.svg], [Buffer.from('png').toString('base64'), '<svg/>']);
    }));

  for (const [language, code, name] of hangs) {
    test(`${language} is interrupted in: ${code}`, () =>
      using(language, async (run) => {
        await run(language === 'bash' ? 'kept=5' : 'kept = 5');
        assert.equal((await run(code, { timeoutMs: 100 })).error?.name, name);
        const after = await run(language === 'bash' ? 'echo $kept' : 'kept');
        assert.equal(after.text ?? after.stdout.trim(), '5');
      }));
  }
});
