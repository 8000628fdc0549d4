/** What sandboxes see of their network: the same in each, and it works, before and after the server was killed. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runPython } from '../support/clients.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';

const PRELUDE = `
import modal
app = modal.App.lookup("e2e-addresses", create_if_missing=True)
image = modal.Image.from_registry("debian:bookworm-slim")
def look(sandbox):
    seen = "grep -v localhost /etc/hosts | cut -f 1; cat /etc/resolv.conf"
    reach = "(exec 3<>/dev/tcp/169.254.77.1/53) && echo reached"
    process = sandbox.exec("bash", "-c", f"{seen}; {reach}")
    print(process.stdout.read(), process.stderr.read(), end="")
`;
const SEEN = '169.254.77.2\nnameserver 169.254.77.1\nreached\n ';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`addresses under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());

    const python = async (source: string) => {
      const result = await runPython(server, `${PRELUDE}${source}`);
      assert.equal(result.code, 0, `${result.stderr}\nserver:\n${server.log().slice(-4000)}`);
      return result.stdout;
    };

    test('are the same in every sandbox, and lead to the resolver, after a restart too', async () => {
      const made = await python(`
for name in ("one", "two"):
    look(modal.Sandbox.create("sleep", "600", app=app, image=image, name=name))`);
      assert.equal(made, SEEN.repeat(2));
      await server.kill9();
      await server.restart();
      const again = await python(`
for name in ("one", "two"):
    look(modal.Sandbox.from_name("e2e-addresses", name))`);
      assert.equal(again, SEEN.repeat(2));
    });
  });
}
