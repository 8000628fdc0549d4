/** The example of the seeds, through the three official clients, under each runtime: what it prints, when, and what it cannot harm. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { goExample, runGo, runJsFile, runPython, runPythonFile } from './support/clients.ts';
import type { ProgramResult } from './support/program.ts';
import { onceUnderRunc, runtimesToTest } from './support/runtimes.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';

const examples = join(projectRoot, 'examples');
const go = goExample();

const clients = [
  {
    name: 'Python',
    skip: false,
    run: (server: TestServer) => runPythonFile(server, join(examples, 'python/safe_code_execution.py')),
  },
  {
    name: 'JavaScript',
    skip: false,
    run: (server: TestServer) => runJsFile(server, join(examples, 'js/safe-code-execution.mjs')),
  },
  {
    name: 'Go',
    skip: go === undefined ? 'no Go toolchain' : false,
    run: (server: TestServer) => runGo(server, go ?? ''),
  },
] as const;

/** The example's image as the Python client defines it. */
const prelude = `
import modal
app = modal.App.lookup("e2e-bystanders", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").apt_install("nodejs", "ruby", "php")
`;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`safe code execution under ${runtime}`, { skip }, () => {
    let server: TestServer;
    let sentinels: string;

    before(async () => {
      server = await startServer({ runtime });
      sentinels = mkdtempSync(join(tmpdir(), 'sentinel-'));
      writeFileSync(join(sentinels, 'file'), 'intact');
    });
    after(async () => {
      if (sentinels) rmSync(sentinels, { recursive: true, force: true });
      await server?.stop();
    });

    test('the image is built, or found in the cache, and a bystander starts from it', async () => {
      const bystander = await runPython(
        server,
        `${prelude}
sb = modal.Sandbox.create(app=app, image=image, name="bystander")
sb.exec("sh", "-c", "echo intact > /root/witness").wait()
print(sb.object_id)`,
      );
      assert.equal(bystander.code, 0, bystander.stderr);
    });

    for (const client of clients) {
      test(`the ${client.name} client prints what the seed prints, as it comes`, {
        skip: client.skip || (client.name !== 'Python' && onceUnderRunc(runtime)),
      }, async () => {
        const result = await client.run(server);
        assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
        assertExampleOutput(result);
        assert.equal(readFileSync(join(sentinels, 'file'), 'utf8'), 'intact', 'a file of the host');
      });
    }

    test('the sandbox beside it and the next one of the same image are whole', async () => {
      const result = await runPython(
        server,
        `${prelude}
beside = modal.Sandbox.from_name("e2e-bystanders", "bystander")
print(beside.exec("cat", "/root/witness").stdout.read(), end="")
print(beside.exec("ruby", "-e", "puts 6 * 7").stdout.read(), end="")
beside.terminate()
after = modal.Sandbox.create(app=app, image=image)
for command in (["ruby", "-e", "puts 1"], ["node", "-e", "console.log(2)"], ["php", "-r", "echo 3;"], ["ls", "/root/witness"]):
    process = after.exec(*command)
    print(process.stdout.read().strip(), process.wait())
after.terminate()`,
      );
      assert.equal(result.code, 0, result.stderr);
      assert.deepEqual(result.stdout.split('\n'), ['intact', '42', '1 0', '2 0', '3 0', ' 2']);
    });

    test('the program that deletes everything ran, and deleted what it could', async () => {
      const result = await runPython(
        server,
        `${prelude}
sb = modal.Sandbox.create(app=app, image=image)
rm = sb.exec("rm", "-rfv", "/", "--no-preserve-root")
print(rm.stdout.read().count("removed") > 1000)
rm.wait()
ls = sb.exec("ls", "/")
print(ls.wait(), ls.stderr.read().strip())
sb.terminate()`,
      );
      assert.equal(result.code, 0, result.stderr);
      const [removed, next = ''] = result.stdout.split('\n');
      assert.equal(removed, 'True');
      assert.match(next, /^128 .*\bls\b/, 'ls is gone, and its process says so');
    });

    test('the build log comes while the image is built', async () => {
      const marker = `${runtime}-${process.pid}-${Date.now()}`;
      const result = await runPython(
        server,
        `import modal
app = modal.App.lookup("e2e-build-log", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").run_commands(
    "echo ${marker}; for i in 1 2 3 4; do echo step-$i-of-4; sleep 1; done")
with modal.enable_output():
    modal.Sandbox.create(app=app, image=image).terminate()`,
      );
      assert.equal(result.code, 0, result.stderr);
      const at = (text: string) => result.lines.find((line) => line.text.trim() === text)?.atMs;
      const [first, last] = [at('step-1-of-4'), at('step-4-of-4')];
      assert.ok(
        first !== undefined && last !== undefined,
        `the log has the steps:\n${result.stdout}\n${result.stderr}`,
      );
      assert.ok(last - first > 1500, `the first step came ${last - first} ms before the last`);
    });
  });
}

/** Five hellos, the sum, and ten lines of which the first came seconds before the last. */
function assertExampleOutput({ lines, stdout }: ProgramResult): void {
  for (const language of ['bash', 'python', 'nodejs', 'ruby', 'php']) {
    assert.ok(
      lines.some(({ text }) => text === `hello from ${language}`),
      `hello from ${language} in:\n${stdout}`,
    );
  }
  assert.match(stdout, /^Sandbox ID: sb-[0-9A-Za-z]+$/m);
  const sum = Number(/^The sum of the random numbers is: (\d+)$/m.exec(stdout)?.[1]);
  assert.ok(sum >= 10 && sum <= 1000, `a sum of ten numbers from 1 to 100: ${sum}`);
  const numbered = lines.filter(({ text }) => /^Line \d+: \d{4}-/.test(text));
  assert.deepEqual(
    numbered.map(({ text }) => Number(/\d+/.exec(text)?.[0])),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  const [first, last] = [numbered.at(0), numbered.at(-1)];
  assert.ok(first && last && last.atMs - first.atMs > 2000, 'the lines came one by one, not all at the end');
}
