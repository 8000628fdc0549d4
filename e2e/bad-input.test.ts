/** Wrong input is answered with the client's own error and words that help. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { goExample, runGo, runJs, runPython } from './support/clients.ts';
import { startServer, type TestServer } from './support/server.ts';

const prelude = `
import modal
app = modal.App.lookup("e2e-bad-input", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11")
def report(call):
    try:
        call()
        print("no error")
    except Exception as error:
        print(f"{type(error).__module__}.{type(error).__name__}: {error}")
`;

describe('bad input, through the official clients', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.stop());

  const python = async (source: string, env: Record<string, string> = {}) => {
    const result = await runPython(server, `${prelude}${source}`, { env });
    assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
    return result.stdout;
  };

  test('a wrong token is an AuthError in Python and an error naming the token in JavaScript and Go', async () => {
    const env = { MODAL_TOKEN_SECRET: 'as-wrong' };
    const inPython = await runPython(
      server,
      `import modal
try:
    modal.App.lookup("x", create_if_missing=True)
except Exception as error:
    print(type(error).__name__, error)`,
      { env },
    );
    assert.match(inPython.stdout, /^AuthError .*token/i);
    const inJs = await runJs(
      server,
      `import { ModalClient } from 'modal';
try { await new ModalClient().apps.fromName('x', { createIfMissing: true }); console.log('no error'); }
catch (error) { console.log(String(error)); }
process.exit(0);`,
      { env },
    );
    assert.match(inJs.stdout, /UNAUTHENTICATED.*token/i, inJs.stderr);
    const go = goExample();
    if (go !== undefined) {
      const inGo = await runGo(server, go, { env });
      assert.notEqual(inGo.code, 0);
      assert.match(inGo.stderr, /Unauthenticated.*token/i);
    }
  });

  test('a call without a token is refused before anything else', async () => {
    const response = await fetch(`${server.url}/modal.client.ModalClient/AppList`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web+proto' },
      body: new Uint8Array(5),
    });
    const status = response.headers.get('grpc-status') ?? (await response.text());
    assert.ok(response.status === 401 || /(^|grpc-status: ?)16/.test(status), `${response.status} ${status}`);
  });

  test('an unknown app, image and sandbox are NotFoundError', async () => {
    const out = await python(`
report(lambda: modal.App.lookup("e2e-no-such-app"))
report(lambda: modal.Sandbox.create(app=app, image=modal.Image.from_id("im-0000000000000000000000")))
report(lambda: modal.Sandbox.from_id("sb-00000000000000000000000000"))
report(lambda: modal.Sandbox.from_name("e2e-bad-input", "nobody"))`);
    const lines = out.split('\n');
    assert.equal(lines.length, 4, out);
    for (const line of lines) assert.match(line, /^modal\.exception\.NotFoundError: /);
    assert.match(lines[0] ?? '', /e2e-no-such-app/);
  });

  test('a RUN that fails is the build error of the client, and the log ends with command, output and exit code', async () => {
    const marker = `marker-${process.pid}-${Date.now()}`;
    const result = await runPython(
      server,
      `${prelude}
with modal.enable_output():
    report(lambda: modal.Sandbox.create(app=app, image=image.run_commands("echo ${marker} && exit 7")))`,
    );
    const all = `${result.stdout}\n${result.stderr}`;
    assert.match(result.stdout, /modal\.exception\.\w*Error: /, all);
    assert.match(all, new RegExp(`^\\s*${marker}\\s*$`, 'm'), 'the output of the command');
    assert.match(all, /\b7\b/, 'the exit code');
    assert.match(all, /exit 7/, 'the command');
  });

  test('an instruction that does not exist is named', async () => {
    const out = await python(`
report(lambda: modal.Sandbox.create(app=app, image=image.dockerfile_commands("FROBNICATE now")))`);
    assert.match(out, /^modal\.exception\.\w+: .*FROBNICATE/s);
  });

  test('an unreachable package mirror makes a build error with the package tool’s words', async () => {
    const out = await python(`
broken = image.run_commands(
    "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*",
    "echo 'deb [trusted=yes] http://127.0.0.1:9 bookworm main' > /etc/apt/sources.list",
).apt_install("hello")
report(lambda: modal.Sandbox.create(app=app, image=broken))`);
    assert.match(out, /^modal\.exception\.\w+: /);
  });

  test('a program that is missing or not executable, and a working directory that is missing, are told apart', async () => {
    const out = await python(`
sb = modal.Sandbox.create(app=app, image=image)
def tell(process):
    print(process.wait(), process.stderr.read(), end="")
tell(sb.exec("no-such-program"))
tell(sb.exec("/etc/passwd"))
tell(sb.exec("true", workdir="/no/such/dir"))
print(sb.exec("echo", "still works").stdout.read(), end="")
sb.terminate()`);
    const lines = out.split('\n');
    assert.match(lines[0] ?? '', /^128 .*no-such-program/);
    assert.match(lines[1] ?? '', /^128 .*\/etc\/passwd.*(execut|permission)/i);
    assert.match(lines[2] ?? '', /^128 .*\/no\/such\/dir/);
    assert.equal(lines[3], 'still works');
    assert.doesNotMatch(out, /^no error/m);
  });

  test('an exec in a sandbox that has ended says so', async () => {
    const out = await python(`
sb = modal.Sandbox.create(app=app, image=image)
sb.terminate(wait=True)
report(lambda: sb.exec("true").wait())`);
    assert.doesNotMatch(out, /no error/);
    assert.match(out, /terminat|ended|finished|shut ?down|stopped/i);
  });
});
